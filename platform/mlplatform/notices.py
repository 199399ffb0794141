"""Notices put into the outbox: composed once, whole, when their cause is written; sending is somebody else's."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from sqlalchemy import Connection

from mlplatform.build import Parts
from mlplatform.links import image_link, links_of, version_links
from mlplatform.store import alerts, evaluations, judged, outbox
from mlplatform.store.dossier import firing, run_of
from mlplatform.store.probations import Probation
from mlplatform.store.worst import worst_errors
from monitors.alertmanager import alertmanager_payload
from monitors.alerts import Alert, Kind
from monitors.channels import AlertmanagerChannel, AppriseChannel, Channel, EmailChannel, SlackChannel, WebhookChannel
from monitors.duel import Duel
from monitors.loss import Loss, loss_alert, loss_webhook
from monitors.mail import email_message
from monitors.notify import MOST_THUMBNAILS, Notice, Subject, Thumbnail, idempotency_key
from monitors.push import push_payload
from monitors.rollback import Rollback, rollback_alert, rollback_webhook
from monitors.rules import AlertsConfig, Rule
from monitors.slack import slack_payload
from monitors.webhook import webhook_payload

MESSAGE_ID_DOMAIN = "mlplatform.invalid"


def post_group(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    subjects: Sequence[Subject],
    kind: Kind,
    evaluation: evaluations.Evaluation,
) -> int:
    """Put one notice about these alerts into the outbox per configured channel; returns how many.

    The alerts are of one rule and version, and the evaluation moved all of them the same way. Those under a silence
    are left out; in mute hours nobody is told, but for an escalation.
    """
    told = _heard(connection, subjects, evaluation)
    if kind != "escalated" and any(hours.covers(rule.severity, evaluation.at) for hours in parts.rules.mute):
        return 0
    names = rule.escalate.notify if kind == "escalated" and rule.escalate else rule.notify
    reached = {name: channel for name in names if (channel := parts.rules.channels[name]).configured}
    if not told or not reached:
        return 0
    notice = _notice(connection, parts, rule, told, kind, evaluation)
    of_notice = [each.alert.id for each in told]
    return sum(
        outbox.post(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**compose(notice, name, channel), "kind": kind, "alerts": of_notice},
            alert_id=of_notice[0],
            now=evaluation.at,
        )
        for name, channel in reached.items()
    )


def post_rollback(connection: Connection, parts: Parts, ended: Probation) -> int:
    """Put one notice about a version that was sent back into the outbox per channel; returns how many.

    It is said once and has no reminder, so neither silences nor mute hours hold it back.
    """
    return post_alone(connection, parts, _rollback(parts, ended), ended.ended_at or parts.clock())


def post_alone(connection: Connection, parts: Parts, notice: Rollback | Loss, now: datetime) -> int:
    """Put a notice that is about no alert into the outbox, once per channel and key; returns how many are new."""
    channels = parts.rules.channels
    reached = {name: channels[name] for name in _channels(parts.rules) if channels[name].configured}
    return sum(
        outbox.post(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**compose(notice, name, channel), "kind": notice.kind},
            alert_id=None,
            now=now,
            model_name=notice.model,
        )
        for name, channel in reached.items()
    )


def _channels(rules: AlertsConfig) -> tuple[str, ...]:
    """Who hears of what is no alert: those named for rollbacks, else those who hear of the accuracy."""
    of_accuracy = (name for rule in rules.rules if rule.metric == "accuracy_drop" for name in rule.notify)
    return rules.probation.notify or tuple(dict.fromkeys(of_accuracy))


def _rollback(parts: Parts, ended: Probation) -> Rollback:
    duel = Duel.from_json(ended.duel)
    return Rollback(
        model=ended.model_name,
        version=ended.version,
        restored=ended.before,
        reason=ended.reason,
        at=ended.ended_at or parts.clock(),
        since=ended.at,
        facts={
            "Version": f"{ended.model_name} v{ended.version}",
            "Serves again": f"{ended.model_name} v{ended.before}",
            "Labelled answers compared": f"{duel.n:,}",
            f"Right only in v{ended.before}": f"{duel.lost:,}",
            f"Right only in v{ended.version}": f"{duel.won:,}",
            "Champion since": f"{ended.at:%Y-%m-%d %H:%M} UTC",
            "False rollbacks": f"at most {100 * (ended.label_level + ended.latency_level):.3g} % of good versions",
        },
        links=version_links(parts.settings, ended.model_name, ended.version),
        idempotency_key=f"rolled-back-{ended.model_name}-{ended.promotion_seq}",
    )


def compose(notice: Notice | Rollback | Loss, name: str, channel: Channel) -> dict[str, object]:
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


def _webhook(notice: Notice | Rollback | Loss) -> dict[str, object]:
    match notice:
        case Rollback():
            return rollback_webhook(notice)
        case Loss():
            return loss_webhook(notice)
        case Notice():
            return webhook_payload(notice)
        case _:
            assert_never(notice)


def _alertmanager(notice: Notice | Rollback | Loss, name: str) -> dict[str, object]:
    match notice:
        case Rollback():
            return rollback_alert(notice, name)
        case Loss():
            return loss_alert(notice, name)
        case Notice():
            return alertmanager_payload(notice, name)
        case _:
            assert_never(notice)


def _heard(
    connection: Connection, subjects: Sequence[Subject], evaluation: evaluations.Evaluation
) -> tuple[Subject, ...]:
    """Those that no silence covers."""
    silences = alerts.active_silences(connection, evaluation.at)
    return tuple(
        each for each in subjects if not any(silence.covers(each.alert, evaluation.at) for silence in silences)
    )


def _notice(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    subjects: tuple[Subject, ...],
    kind: Kind,
    evaluation: evaluations.Evaluation,
) -> Notice:
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
        others=_heard(connection, others, evaluation),
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
        part = judged.counted_inside(connection, name, version, start, end, rule.sources, tags) if tags else {}
        counts = part.get("", ()) if tags else judged.counted(connection, name, version, start, end)
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
