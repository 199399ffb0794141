"""Evaluations in the database, one per rule and schedule slot, and the baselines they compare with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Text, cast, func, select, update

from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.store.database import insert_new
from mlplatform.store.tables.alerting import alerts, baselines, evaluations
from monitors.alerts import Alert

ARTIFACT_DIGESTS: Final = "digests"
"""The kind of baseline that pins what a version's files are."""


@dataclass(frozen=True)
class Evaluation:
    """What one rule found in a window: `state` is the worst of its findings', `measured` Evidently's numbers."""

    id: str
    rule: str
    slot: datetime
    at: datetime
    model_name: str
    model_version: int
    window_start: datetime
    window_end: datetime
    state: str
    findings: list[dict[str, Any]]
    report: str | None
    evaluated_by: str
    measured: dict[str, Any] | None = None


def add(connection: Connection, evaluation: Evaluation) -> None:
    """Write an evaluation; raises ConflictError when that rule and slot were evaluated before."""
    if not insert_new(connection, evaluations, [dict(vars(evaluation))]):
        raise ConflictError(f"rule {evaluation.rule!r} was already evaluated for slot {evaluation.slot}")


def add_metrics(
    connection: Connection, evaluation_id: str, measured: Mapping[str, Any] | None, report: str | None
) -> None:
    """Add to an evaluation what was measured after its decision, and where the report lies."""
    values = {"measured": None if measured is None else dict(measured), "report": report}
    connection.execute(update(evaluations).where(evaluations.c.id == evaluation_id).values(values))


def was_evaluated(connection: Connection, model_name: str, rule: str, slot: datetime) -> bool:
    """Whether that rule of that model was evaluated for that slot."""
    query = select(evaluations.c.id).where(
        evaluations.c.model_name == model_name, evaluations.c.rule == rule, evaluations.c.slot == slot
    )
    return connection.scalar(query) is not None


def latest_slot(connection: Connection, model_name: str, rule: str) -> tuple[datetime, datetime] | None:
    """The newest slot that rule was evaluated for, and when by its evaluator's clock."""
    query = select(evaluations.c.slot, evaluations.c.at).where(
        evaluations.c.model_name == model_name, evaluations.c.rule == rule
    )
    row = connection.execute(query.order_by(evaluations.c.slot.desc()).limit(1)).one_or_none()
    return None if row is None else (row.slot, row.at)


def find(connection: Connection, evaluation_id: str) -> Evaluation:
    """The evaluation of that id; raises NotFoundError."""
    row = None
    if "\0" not in evaluation_id:  # which PostgreSQL refuses as text
        row = connection.execute(select(evaluations).where(evaluations.c.id == evaluation_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"evaluation {evaluation_id!r} is not known; `platform status` lists the newest")
    return Evaluation(**row._mapping)


def recent(connection: Connection, limit: int = 50, rule: str | None = None) -> list[Evaluation]:
    """Evaluations, newest first, of one rule or of all."""
    query = select(evaluations).order_by(evaluations.c.at.desc(), evaluations.c.id.desc()).limit(limit)
    if rule is not None:
        query = query.where(evaluations.c.rule == rule)
    return [Evaluation(**row._mapping) for row in connection.execute(query)]


def latest_per_rule(connection: Connection, model_name: str) -> list[Evaluation]:
    """The newest evaluation of every rule of a model that was ever evaluated, newest first."""
    slots = select(evaluations.c.rule, func.max(evaluations.c.slot).label("slot")).where(
        evaluations.c.model_name == model_name
    )
    last = slots.group_by(evaluations.c.rule).subquery()
    same = (evaluations.c.rule == last.c.rule) & (evaluations.c.slot == last.c.slot)
    query = select(evaluations).join(last, same).where(evaluations.c.model_name == model_name)
    rows = connection.execute(query.order_by(evaluations.c.id.desc()))
    return [Evaluation(**row._mapping) for row in rows]


def latest_states(connection: Connection, model_name: str, version: int, rules: Iterable[str]) -> dict[str, str]:
    """The state that the newest evaluation of each rule found for that version, where there is one."""
    states = {}
    for rule in rules:
        query = select(evaluations.c.state, evaluations.c.model_version).where(
            evaluations.c.model_name == model_name, evaluations.c.rule == rule
        )
        row = connection.execute(query.order_by(evaluations.c.slot.desc()).limit(1)).one_or_none()
        if row is not None and row.model_version == version:
            states[rule] = row.state
    return states


_TRIGGERED_ALERT: Final = (
    (evaluations.c.model_name == alerts.c.model_name)
    & (evaluations.c.rule == alerts.c.rule)
    & (evaluations.c.at == func.coalesce(alerts.c.fired_at, alerts.c.opened_at))
)
"""The evaluation that made an alert fire, or opened one that has not fired."""


def is_notable(connection: Connection, evaluation: Evaluation) -> bool:
    """Whether an alert was opened or fired by it, or its rule's state or version is not as it was before."""
    same_rule = (evaluations.c.model_name == evaluation.model_name) & (evaluations.c.rule == evaluation.rule)
    before = connection.execute(
        select(evaluations.c.state, evaluations.c.model_version)
        .where(same_rule, evaluations.c.slot < evaluation.slot)
        .order_by(evaluations.c.slot.desc())
        .limit(1)
    ).one_or_none()
    if before is None or tuple(before) != (evaluation.state, evaluation.model_version):
        return True
    changed_alerts = select(alerts.c.id).where(
        alerts.c.model_name == evaluation.model_name,
        alerts.c.rule == evaluation.rule,
        (alerts.c.opened_at == evaluation.at) | (alerts.c.fired_at == evaluation.at),
    )
    return connection.scalar(changed_alerts.limit(1)) is not None


def triggering_evaluation(connection: Connection, alert: Alert) -> Evaluation | None:
    """The evaluation that made the alert fire, or opened it."""
    query = select(evaluations).where(
        evaluations.c.model_name == alert.model,
        evaluations.c.rule == alert.rule,
        evaluations.c.at == (alert.fired_at or alert.opened_at),
    )
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else Evaluation(**row._mapping)


def unmeasured_triggers(connection: Connection, model_name: str, rule: str, since: datetime) -> list[Evaluation]:
    """The evaluations that made alerts of a rule fire since then and were never measured, oldest first."""
    query = (
        select(evaluations)
        .join(alerts, _TRIGGERED_ALERT)
        .where(
            evaluations.c.model_name == model_name,
            evaluations.c.rule == rule,
            func.coalesce(cast(evaluations.c.measured, Text), "null") == "null",
            alerts.c.fired_at >= since,
        )
        .order_by(evaluations.c.at)
    )
    matching = (Evaluation(**row._mapping) for row in connection.execute(query))
    return list({evaluation.id: evaluation for evaluation in matching}.values())


def reports_of_alerts(connection: Connection) -> set[str]:
    """The report files of the evaluations that made alerts fire, however long ago, or opened those that are open."""
    kept = alerts.c.fired_at.is_not(None) | alerts.c.state.not_in(("resolved", "superseded"))
    query = select(evaluations.c.report).join(alerts, _TRIGGERED_ALERT).where(kept, evaluations.c.report.is_not(None))
    return {path for path in connection.scalars(query) if path is not None}


def clear_report(connection: Connection, path: str) -> None:
    """Let no evaluation name a report that is removed."""
    connection.execute(update(evaluations).where(evaluations.c.report == path).values(report=None))


def store_baseline(
    connection: Connection,
    model_name: str,
    version: int,
    kind: str,
    host_class: str,
    numbers: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Pin a baseline: the first measurement stays for ever. Returns whether this was the first."""
    row = {
        "model_name": model_name,
        "model_version": version,
        "kind": kind,
        "host_class": host_class,
        "numbers": dict(numbers),
        "at": now,
    }
    return insert_new(connection, baselines, [row]) == 1


def load_baselines(connection: Connection, model_name: str, version: int) -> dict[str, dict[str, dict[str, Any]]]:
    """The pinned baselines of a version: kind → host class → numbers."""
    query = select(baselines.c.kind, baselines.c.host_class, baselines.c.numbers).where(
        baselines.c.model_name == model_name, baselines.c.model_version == version
    )
    numbers: dict[str, dict[str, dict[str, Any]]] = {}
    for row in connection.execute(query):
        numbers.setdefault(row.kind, {})[row.host_class] = row.numbers
    return numbers
