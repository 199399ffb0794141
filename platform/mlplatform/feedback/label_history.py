"""What the store knew, and when: labels in the order they came to count, latencies, slots and alarms of the past.

Rows of `judged` change when a better label comes, and the earlier ones are gone from there; `feedback` keeps them all,
so what counted before is taken from it. It replays nothing and writes nothing.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate, groupby
from typing import Any, Final, cast

from sqlalchemy import CTE, Connection, and_, column, func, select, values

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.feedback.outcomes import UNIT_WEIGHT, outcomes_after
from mlplatform.predictions.prediction_counts import minute_index, minute_start
from mlplatform.store.tables.core import (
    UtcDateTime,
    alert_transitions,
    alerts,
    baselines,
    evaluations,
    feedback,
    predictions,
)
from mlplatform.store.tables.monitoring import outcomes, prediction_counts
from monitors.rules.alerts_config import Source
from monitors.windows.latency_bins import latency_bin
from monitors.windows.window_counts import Outcome

LatencyByHost = Mapping[str, Mapping[int, int]]
LabelPosition = tuple[datetime, int, str]
"""Where labels of one moment stand, as `judged` numbers them: first answers labelled anew, then moved ones, by id."""
_BATCH_SIZE: Final = 400
_NO_LIMIT: Final = 2**62


@dataclass(frozen=True)
class LabelEvent:
    """From `at` on this is what the store held about an answer; `numbered`: it was one more label to be read."""

    at: datetime
    outcome: Outcome
    is_new_label: bool


@dataclass(frozen=True)
class BaselineEvent:
    """A baseline, known from `at` on."""

    at: datetime
    kind: str
    host_class: str
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class FiredAlert:
    """An alert that fired in fact; `ended` says how it ended, None while it is open."""

    rule: str
    key: str
    version: int
    fired_at: datetime
    ended_at: datetime | None
    ended: str | None
    value: float | None


def label_events(connection: Connection, model_name: str, version: int) -> list[LabelEvent]:
    """A version's labels in the order they came to count, each change of a label included.

    A clock that was set back does not bring them out of their order: a label counts not before those numbered before.
    """
    rows = outcomes_after(connection, model_name, version, 0, _NO_LIMIT)
    times = list(accumulate((row.known_at for row in rows), max))
    before = _label_revisions(connection, model_name, version)
    kept: list[tuple[LabelPosition, LabelEvent]] = []
    changes: list[tuple[LabelPosition, LabelEvent]] = []
    for row, at in zip(rows, times, strict=True):
        phases = before.get(row.prediction_id, [])
        place = _numbered_revision(row, phases)
        told = row if place is None else replace(row, truth=phases[place].label)
        kept.append(((at, int(bool(place)), row.prediction_id), LabelEvent(at, told, True)))
        if place is not None:
            changes += _other_revisions(row, phases, place, at)
    keys = [key for key, _ in kept]
    others = [(bisect_left(keys, key), 0, key, heard) for key, heard in changes]
    whole = [*others, *((place, 1, key, heard) for place, (key, heard) in enumerate(kept))]
    return [heard for *_, heard in sorted(whole, key=lambda each: each[:3])]


@dataclass(frozen=True)
class _LabelRevision:
    """What was the truth of an answer from a moment on, by which source."""

    at: datetime
    label: str
    source: Source
    is_new_label: bool


def _label_revisions(connection: Connection, model_name: str, version: int) -> dict[str, list[_LabelRevision]]:
    """The truths that answers with more than one label had, one after the other."""
    several = (
        select(feedback.c.prediction_id)
        .join(outcomes, outcomes.c.prediction_id == feedback.c.prediction_id)
        .where(outcomes.c.model_name == model_name, outcomes.c.model_version == version)
        .group_by(feedback.c.prediction_id)
        .having(func.count() > 1)
    )
    query = select(feedback).where(feedback.c.prediction_id.in_(several))
    rows = connection.execute(query.order_by(feedback.c.prediction_id, feedback.c.id)).mappings()
    return {
        key: list(_revisions_in_order([dict(row) for row in given]))
        for key, given in groupby(rows, key=lambda row: str(row["prediction_id"]))
    }


def _revisions_in_order(rows: Sequence[Mapping[str, Any]]) -> Iterator[_LabelRevision]:
    """How the truth of one answer changed, from all labels it ever had, in the order they came."""
    place = {row["id"]: number for number, row in enumerate(rows)}
    held: tuple[str, str] | None = None
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if number + 1 < len(rows) and rows[number + 1]["received_at"] == row["received_at"]:
            continue  # taken in one transaction with the next
        current = [
            CurrentLabel(each["id"], each["prediction_id"], each["label"], each["source"], each["at"])
            for each in rows[: number + 1]
            if each["superseded_by"] is None or place[each["superseded_by"]] > number
        ]
        for truth in resolve_truths(current).values():
            source = cast("Source", truth.source)  # a review speaks under the source it amends
            if held != (truth.label, source):
                yield _LabelRevision(row["received_at"], truth.label, source, source not in seen)
                held = (truth.label, source)
                seen.add(source)


def _numbered_revision(row: Outcome, revisions: Sequence[_LabelRevision]) -> int | None:
    """Which phase gave the row the number it has; None where the phases do not lead to it."""
    if not revisions or (revisions[-1].label, revisions[-1].source) != (row.truth, row.source):
        return None
    return next(place for place, each in enumerate(revisions) if each.source == row.source)


def _other_revisions(
    row: Outcome, revisions: Sequence[_LabelRevision], kept: int, at: datetime
) -> Iterator[tuple[LabelPosition, LabelEvent]]:
    """What the store held of an answer before its present number, and how its label was changed after."""
    for place, phase in enumerate(revisions):
        if place == kept:
            continue
        moment = min(phase.at, at) if place < kept else max(phase.at, at)
        told = replace(row, truth=phase.label, source=phase.source, known_at=_source_known_since(revisions, place))
        if phase.source != "audit":
            told = replace(told, weight=UNIT_WEIGHT.weight, share=UNIT_WEIGHT.share)
        rank = 2 if place > kept else int(place > 0)
        yield (moment, rank, row.prediction_id), LabelEvent(moment, told, phase.is_new_label)


def _source_known_since(revisions: Sequence[_LabelRevision], place: int) -> datetime:
    """When the source of a phase first spoke."""
    return next(each.at for each in revisions if each.source == revisions[place].source)


def baseline_events(connection: Connection, model_name: str, version: int) -> list[BaselineEvent]:
    """A version's baselines in the order they were measured."""
    query = select(baselines.c.at, baselines.c.kind, baselines.c.host_class, baselines.c.numbers).where(
        baselines.c.model_name == model_name, baselines.c.model_version == version
    )
    return [
        BaselineEvent(**row._mapping) for row in connection.execute(query.order_by(baselines.c.at, baselines.c.kind))
    ]


def evaluation_times(connection: Connection, model_name: str, rule: str, start: datetime) -> dict[datetime, datetime]:
    """When a rule's slots were evaluated in fact: slot to moment."""
    query = select(evaluations.c.slot, evaluations.c.at).where(
        evaluations.c.model_name == model_name, evaluations.c.rule == rule, evaluations.c.at >= start
    )
    return {row.slot: row.at for row in connection.execute(query)}


def latency_by_minute(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> dict[int, LatencyByHost]:
    """How many requests took how long: minute to host class to bin."""
    query = select(prediction_counts.c.minute, prediction_counts.c.host_class, prediction_counts.c.latency).where(
        prediction_counts.c.model_name == model_name,
        prediction_counts.c.model_version == version,
        prediction_counts.c.minute >= minute_index(start),
        prediction_counts.c.minute <= minute_index(end),
    )
    found: dict[int, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in connection.execute(query):
        found[row.minute][row.host_class].update({int(place): n for place, n in row.latency.items()})
    return {minute: dict(hosts) for minute, hosts in found.items()}


def partial_minute_latencies(
    connection: Connection, model_name: str, version: int, ends: Iterable[datetime]
) -> dict[datetime, Mapping[int, int]]:
    """The latencies of the answers from the beginning of a moment's minute up to it, for those that have any."""
    wanted = sorted(set(ends))
    given: dict[int, list[tuple[datetime, str, float]]] = defaultdict(list)
    for first in range(0, len(wanted), _BATCH_SIZE):
        spans = _partial_minutes(wanted[first : first + _BATCH_SIZE])
        query = select(predictions.c.at, predictions.c.request_id, predictions.c.latency_ms).where(
            predictions.c.model_name == model_name,
            predictions.c.model_version == version,
            predictions.c.at >= spans.c.start,
            predictions.c.at <= spans.c.end,
        )
        for row in connection.execute(query):
            given[minute_index(row.at)].append((row.at, row.request_id, row.latency_ms))
    found: dict[datetime, Mapping[int, int]] = {}
    for end in wanted:
        requests = {(at, request): spent for at, request, spent in given.get(minute_index(end), ()) if at <= end}
        if requests:
            found[end] = Counter(latency_bin(spent) for spent in requests.values())
    return found


def _partial_minutes(ends: Iterable[datetime]) -> CTE:
    """From the beginning of each moment's minute to it, as a table to join: the database looks each up by its index."""
    rows = [(minute_start(minute_index(end)), end) for end in ends]
    return values(column("start", UtcDateTime), column("end", UtcDateTime)).data(rows).cte("spans")


def fired_alerts(connection: Connection, model_name: str, start: datetime, end: datetime) -> list[FiredAlert]:
    """The alerts that fired in fact between two moments, in that order."""
    query = (
        select(alerts, alert_transitions.c.at.label("ended_at"), alert_transitions.c.to_state)
        .outerjoin(
            alert_transitions,
            and_(
                alert_transitions.c.alert_id == alerts.c.id,
                alert_transitions.c.to_state.in_(("resolved", "superseded")),
            ),
        )
        .where(alerts.c.model_name == model_name, alerts.c.fired_at >= start, alerts.c.fired_at <= end)
        .order_by(alerts.c.fired_at, alerts.c.id)
    )
    return [
        FiredAlert(
            rule=row["rule"],
            key=row["key"],
            version=row["model_version"],
            fired_at=row["fired_at"],
            ended_at=row["ended_at"],
            ended=row["to_state"],
            value=row["numbers"]["value"],
        )
        for row in connection.execute(query).mappings()
    ]
