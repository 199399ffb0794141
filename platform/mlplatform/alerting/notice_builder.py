"""Builds notices about alerts from the store: who is under a silence, most confused classes, worst errors, links."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from mlplatform.alerting import alert_records, evaluations
from mlplatform.alerting.links import alert_links, image_link
from mlplatform.alerting.trend_picture import load_trend
from mlplatform.context import AppContext
from mlplatform.feedback import outcome_counts, outcomes
from mlplatform.feedback.label_precedence import ESTIMATION_SOURCES
from mlplatform.feedback.worst_errors import WorstError, worst_errors
from mlplatform.store.tables.alerting import alerts as alert_rows
from mlplatform.store.tables.retraining import retrainings as retraining_rows
from monitors.alerts import Alert, NoticeKind
from monitors.notices.notice import MAX_THUMBNAILS, Notice, Subject, Thumbnail, idempotency_key
from monitors.rules.alerts_config import Rule

MOST_ALERTS = 200
"""How many firing alerts of a rule a notice looks at, newest first."""
ERROR_PERIOD = timedelta(days=7)
"""For so long back a notice about a version shows what it was wrong about."""


def drop_silenced(connection: Connection, subjects: Sequence[Subject], now: datetime) -> tuple[Subject, ...]:
    """Those that no silence covers."""
    silences = alert_records.active_silences(connection, now)
    return tuple(subject for subject in subjects if not any(silence.covers(subject.alert, now) for silence in silences))


def build_alert_notice(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    subjects: tuple[Subject, ...],
    kind: NoticeKind,
    evaluation: evaluations.Evaluation,
    hold: str = "",
) -> Notice:
    """One notice about alerts of a rule and version that an evaluation moved the same way.

    `hold` is why the retraining that the rule asks for does not start yet.
    """
    # What else of the rule fires, for receivers that want the whole group.
    about = [subject.alert for subject in subjects]
    name, version, ids = evaluation.model_name, evaluation.model_version, {alert.id for alert in about}
    firing = firing_alerts(connection, name, version, rule.name)
    others = [Subject(alert, sentence) for alert, sentence in firing if alert.id not in ids]
    # Once it is over, nobody has to see which errors there were.
    errors_matter = kind != "resolved" and rule.reads_labels
    return Notice(
        kind=kind,
        rule=rule,
        subjects=subjects,
        at=evaluation.at,
        links=alert_links(
            context.settings,
            evaluations.triggering_evaluation(connection, about[0]) or evaluation,
            [alert.id for alert in about],
            training_run_of(connection, name, version),
            is_over=kind == "resolved",
        ),
        idempotency_key=idempotency_key(about, kind, evaluation.id),
        top_confusions=_top_confusions(connection, rule, about, evaluation) if errors_matter else (),
        thumbnails=_worst_error_thumbnails(connection, context, rule, about, evaluation) if errors_matter else (),
        other_subjects=drop_silenced(connection, others, evaluation.at),
        trend=load_trend(connection, rule, about[0]),
        hold=hold,
    )


def _top_confusions(
    connection: Connection, rule: Rule, about: Sequence[Alert], evaluation: evaluations.Evaluation
) -> tuple[str, ...]:
    """For each alert the pair of classes most often confused: "3 read as 5, 14 of 20 errors".

    By the labels of its finding: the window's, and since the change where the rule's detector has found one.
    """
    name, version, end = evaluation.model_name, evaluation.model_version, evaluation.window_end
    phrases = []
    for alert in about:
        start, tags = (
            max(evaluation.window_start, alert.changed_at or evaluation.window_start),
            _alert_tags(rule, alert),
        )
        counts = (
            outcomes.newest_label_counts(connection, name, version, start, end, rule.sources, tags)
            if tags
            else outcome_counts.window_label_counts(connection, name, version, start, end)
        )
        pairs: Counter[tuple[str, str]] = Counter()
        truth = _alert_class(rule, alert)
        for cell in counts:
            estimates = cell.source in rule.sources and cell.weight > 0
            if estimates and not cell.correct and truth in (None, cell.truth):
                pairs[cell.truth, cell.label] += cell.n
        for (truth, label), n in pairs.most_common(1):
            phrases.append(f"{truth} read as {label}, {n} of {pairs.total()} errors")
    return tuple(phrases)


def _alert_class(rule: Rule, alert: Alert) -> str | None:
    """The class an alert is about; None where it is about something else."""
    return alert.key if rule.metric_spec.key_type == "class" and alert.key else None


def _alert_tags(rule: Rule, alert: Alert) -> dict[str, str]:
    """The tags of the predictions an alert is about: those of its rule's slice, and of its group."""
    return {**rule.slice, **({rule.by: alert.key} if rule.by and alert.key else {})}


def _worst_error_thumbnails(
    connection: Connection, context: AppContext, rule: Rule, about: Sequence[Alert], evaluation: evaluations.Evaluation
) -> tuple[Thumbnail, ...]:
    """The worst errors about each alert in turn, MAX_THUMBNAILS together."""
    shown = about[:MAX_THUMBNAILS]
    errors = [
        error
        for alert in shown
        for error in worst_errors(
            connection,
            context.contracts,
            evaluation.model_name,
            evaluation.model_version,
            _alert_class(rule, alert),
            evaluation.window_start,
            evaluation.window_end,
            rule.sources,
            MAX_THUMBNAILS // len(shown),
            _alert_tags(rule, alert),
        )
    ]
    return tuple(_thumbnail(context, error) for error in errors)


def version_error_thumbnails(
    connection: Connection, context: AppContext, model: str, version: int, start: datetime, end: datetime
) -> tuple[Thumbnail, ...]:
    """What a version was surest of and wrong about, for notices about versions; the captions name it."""
    errors = worst_errors(
        connection, context.contracts, model, version, None, start, end, ESTIMATION_SOURCES, MAX_THUMBNAILS
    )
    return tuple(_thumbnail(context, error, f"v{version}: ") for error in errors)


def _thumbnail(context: AppContext, error: WorstError, prefix: str = "") -> Thumbnail:
    verb = "read" if error.png else "answered"
    return Thumbnail(
        error.prediction_id,
        f"{prefix}{error.truth} {verb} as {error.label}, {100 * error.confidence:.0f} %",
        error.png,
        "" if error.png is None else image_link(context.settings, error.prediction_id),
        tuple((cell.name, cell.text) for cell in error.cells),
    )


def training_run_of(connection: Connection, model_name: str, version: int) -> str | None:
    """The training run of a version that a retraining of this platform made."""
    query = select(retraining_rows.c.run_id).where(
        retraining_rows.c.pipeline == model_name, retraining_rows.c.candidate_version == version
    )
    run_id: str | None = connection.scalar(query.order_by(retraining_rows.c.id.desc()).limit(1))
    return run_id


def firing_alerts(connection: Connection, model_name: str, version: int, rule: str) -> list[tuple[Alert, str]]:
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
