"""What exactly each channel is sent: notices made of what the store knows, in each channel's form; it sends nothing."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from sqlalchemy import Connection, select

from mlplatform.alerting import alert_records, evaluations
from mlplatform.alerting.links import image_link, links_of
from mlplatform.context import Parts
from mlplatform.feedback import outcomes
from mlplatform.feedback.worst_errors import worst_errors
from mlplatform.store.tables.core import alerts as alert_rows
from mlplatform.store.tables.core import retrainings as retraining_rows
from monitors.alerts import Alert, Kind
from monitors.notices.alertmanager import alertmanager_payload
from monitors.notices.apprise_payload import push_payload
from monitors.notices.audit_contradiction_notice import Tampering, tampering_alert, tampering_webhook
from monitors.notices.email_message import email_message
from monitors.notices.lost_predictions_notice import Loss, loss_alert, loss_webhook
from monitors.notices.notice import MOST_THUMBNAILS, Notice, Subject, Thumbnail, idempotency_key
from monitors.notices.promotion_notice import Promotion, promotion_webhook
from monitors.notices.rollback_notice import Rollback, rollback_alert, rollback_webhook
from monitors.notices.slack import slack_payload
from monitors.notices.superseded_notice import Ending, ending_webhook
from monitors.notices.unsuccessful_retraining_notice import Stall, stall_alert, stall_webhook
from monitors.notices.webhook import webhook_payload
from monitors.rules.alerts_config import Rule
from monitors.rules.channel_config import (
    AlertmanagerChannel,
    AppriseChannel,
    Channel,
    EmailChannel,
    SlackChannel,
    WebhookChannel,
)

MESSAGE_ID_DOMAIN = "mlplatform.invalid"
Message = Notice | Rollback | Loss | Ending | Promotion | Stall | Tampering
MOST_ALERTS = 200
"""How many firing alerts of a rule a notice looks at, newest first."""


def compose(notice: Message, name: str, channel: Channel) -> dict[str, object]:
    """What exactly will be sent through the channel of that name, every time it is tried; no secret is in it."""
    match channel:
        case SlackChannel():
            return {"type": "slack", "body": slack_payload(notice)}
        case EmailChannel():
            message = email_message(notice, channel.sender, channel.to, MESSAGE_ID_DOMAIN)
            return {"type": "email", "message": message.as_string()}
        case WebhookChannel():
            return {"type": "webhook", "body": _webhook(notice)}
        case AlertmanagerChannel():
            return {"type": "alertmanager", "body": _alertmanager(notice, name)}
        case AppriseChannel():
            return {"type": "apprise", "body": push_payload(notice)}
        case _:
            assert_never(channel)


def _webhook(notice: Message) -> dict[str, object]:
    match notice:
        case Rollback():
            return rollback_webhook(notice)
        case Loss():
            return loss_webhook(notice)
        case Stall():
            return stall_webhook(notice)
        case Tampering():
            return tampering_webhook(notice)
        case Ending():
            return ending_webhook(notice)
        case Promotion():
            return promotion_webhook(notice)
        case Notice():
            return webhook_payload(notice)
        case _:
            assert_never(notice)


def _alertmanager(notice: Message, name: str) -> dict[str, object]:
    """A promotion is no incident, and what ends one is made of what began it: neither has a body of its own."""
    match notice:
        case Rollback():
            return rollback_alert(notice, name)
        case Loss():
            return loss_alert(notice, name)
        case Stall():
            return stall_alert(notice, name)
        case Tampering():
            return tampering_alert(notice, name)
        case Notice():
            return alertmanager_payload(notice, name)
        case Ending() | Promotion():
            raise TypeError(f"{type(notice).__name__} is not told to Alertmanager's receivers in this way")
        case _:
            assert_never(notice)


def not_silenced(connection: Connection, subjects: Sequence[Subject], now: datetime) -> tuple[Subject, ...]:
    """Those that no silence covers."""
    silences = alert_records.active_silences(connection, now)
    return tuple(each for each in subjects if not any(silence.covers(each.alert, now) for silence in silences))


def notice_of(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    subjects: tuple[Subject, ...],
    kind: Kind,
    evaluation: evaluations.Evaluation,
) -> Notice:
    """One notice about alerts of a rule and version that an evaluation moved the same way."""
    about = [each.alert for each in subjects]
    name, version, told = evaluation.model_name, evaluation.model_version, {alert.id for alert in about}
    others = [Subject(*each) for each in firing(connection, name, version, rule.name) if each[0].id not in told]
    to_acknowledge = [] if kind == "resolved" else [alert.id for alert in about]
    errors_matter = kind != "resolved" and rule.reads_labels
    return Notice(
        kind=kind,
        rule=rule,
        subjects=subjects,
        at=evaluation.at,
        links=links_of(
            parts.settings,
            evaluations.cause_of(connection, about[0]) or evaluation,
            to_acknowledge,
            run_of(connection, name, version),
        ),
        idempotency_key=idempotency_key(about, kind, evaluation.id),
        confused=_confused(connection, rule, about, evaluation) if errors_matter else (),
        thumbnails=_thumbnails(connection, parts, rule, about, evaluation) if errors_matter else (),
        others=not_silenced(connection, others, evaluation.at),
    )


def _confused(
    connection: Connection, rule: Rule, about: Sequence[Alert], evaluation: evaluations.Evaluation
) -> tuple[str, ...]:
    """For each alert the pair of classes most often confused: "3 read as 5, 14 of 20 errors".

    By the labels of its finding: the window's, and since the change where the rule's detector has found one.
    """
    name, version, end = evaluation.model_name, evaluation.model_version, evaluation.window_end
    phrases = []
    for alert in about:
        start, tags = max(evaluation.window_start, alert.changed_at or evaluation.window_start), _tags_of(rule, alert)
        part = outcomes.counted_inside(connection, name, version, start, end, rule.sources, tags) if tags else {}
        counts = part.get("", ()) if tags else outcomes.counted(connection, name, version, start, end)
        pairs: Counter[tuple[str, str]] = Counter()
        truth = _class_of(rule, alert)
        for cell in counts:
            estimates = cell.source in rule.sources and cell.weight > 0
            if estimates and not cell.correct and truth in (None, cell.truth):
                pairs[cell.truth, cell.label] += cell.n
        for (truth, label), n in pairs.most_common(1):
            phrases.append(f"{truth} read as {label}, {n} of {pairs.total()} errors")
    return tuple(phrases)


def _class_of(rule: Rule, alert: Alert) -> str | None:
    """The class an alert is about; None where it is about something else."""
    return alert.key if rule.kind.key == "class" and alert.key else None


def _tags_of(rule: Rule, alert: Alert) -> dict[str, str]:
    """The tags of the answers an alert is about: those of its rule's slice, and of its group."""
    return {**rule.slice, **({rule.by: alert.key} if rule.by and alert.key else {})}


def _thumbnails(
    connection: Connection, parts: Parts, rule: Rule, about: Sequence[Alert], evaluation: evaluations.Evaluation
) -> tuple[Thumbnail, ...]:
    """The worst errors about each alert in turn, MOST_THUMBNAILS together."""
    shown = about[:MOST_THUMBNAILS]
    found = [
        error
        for alert in shown
        for error in worst_errors(
            connection,
            evaluation.model_name,
            evaluation.model_version,
            _class_of(rule, alert),
            evaluation.window_start,
            evaluation.window_end,
            rule.sources,
            MOST_THUMBNAILS // len(shown),
            _tags_of(rule, alert),
        )
    ]
    return tuple(
        Thumbnail(
            error.prediction_id,
            f"{error.truth} read as {error.label}, {100 * error.confidence:.0f} %",
            error.png,
            image_link(parts.settings, error.prediction_id),
        )
        for error in found
    )


def run_of(connection: Connection, model_name: str, version: int) -> str | None:
    """The training run of a version that a retraining of this platform made."""
    query = select(retraining_rows.c.run_id).where(
        retraining_rows.c.pipeline == model_name, retraining_rows.c.candidate_version == version
    )
    run_id: str | None = connection.scalar(query.order_by(retraining_rows.c.id.desc()).limit(1))
    return run_id


def firing(connection: Connection, model_name: str, version: int, rule: str) -> list[tuple[Alert, str]]:
    """The alerts of a rule and version that fire, acknowledged or not, with their sentences."""
    query = (
        select(alert_rows.c.id, alert_rows.c.sentence)
        .where(
            alert_rows.c.rule == rule,
            alert_rows.c.model_name == model_name,
            alert_rows.c.model_version == version,
            alert_rows.c.state.in_(("firing", "acknowledged")),
        )
        .order_by(alert_rows.c.key)
        .limit(MOST_ALERTS)
    )
    return [(alert_records.find(connection, row.id), row.sentence) for row in connection.execute(query)]
