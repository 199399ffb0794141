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

from mlplatform.feedback.label_precedence import Current, truths
from mlplatform.feedback.outcomes import CENSUS, since
from mlplatform.predictions.prediction_counts import minute_of, start_of
from mlplatform.store.tables.core import (
    UtcDateTime,
    alert_changes,
    alerts,
    baselines,
    evaluations,
    feedback,
    predictions,
)
from mlplatform.store.tables.monitoring import judged, tallies
from monitors.rules.alerts_config import Source
from monitors.windows.window_counts import Judged, latency_bin

HostBins = Mapping[str, Mapping[int, int]]
Place = tuple[datetime, int, str]
"""Where labels of one moment stand, as `judged` numbers them: first answers labelled anew, then moved ones, by id."""
_AT_ONCE: Final = 400
_EVERYTHING: Final = 2**62


@dataclass(frozen=True)
class Heard:
    """From `at` on this is what the store held about an answer; `numbered`: it was one more label to be read."""

    at: datetime
    row: Judged
    numbered: bool


@dataclass(frozen=True)
class Pinned:
    """A baseline, known from `at` on."""

    at: datetime
    kind: str
    host_class: str
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class Fired:
    """An alert that fired in fact; `ended` says how it ended, None while it is open."""

    rule: str
    key: str
    version: int
    fired_at: datetime
    ended_at: datetime | None
    ended: str | None
    value: float | None


def labels(connection: Connection, model_name: str, version: int) -> list[Heard]:
    """A version's labels in the order they came to count, each change of a label included.

    A clock that was set back does not bring them out of their order: a label counts not before those numbered before.
    """
    rows = since(connection, model_name, version, 0, _EVERYTHING)
    times = list(accumulate((row.known_at for row in rows), max))
    before = _phases(connection, model_name, version)
    kept: list[tuple[Place, Heard]] = []
    changes: list[tuple[Place, Heard]] = []
    for row, at in zip(rows, times, strict=True):
        phases = before.get(row.prediction_id, [])
        place = _kept_phase(row, phases)
        told = row if place is None else replace(row, truth=phases[place].label)
        kept.append(((at, int(bool(place)), row.prediction_id), Heard(at, told, True)))
        if place is not None:
            changes += _around(row, phases, place, at)
    keys = [key for key, _ in kept]
    others = [(bisect_left(keys, key), 0, key, heard) for key, heard in changes]
    whole = [*others, *((place, 1, key, heard) for place, (key, heard) in enumerate(kept))]
    return [heard for *_, heard in sorted(whole, key=lambda each: each[:3])]


@dataclass(frozen=True)
class _Phase:
    """What was the truth of an answer from a moment on, by which source."""

    at: datetime
    label: str
    source: Source
    numbered: bool


def _phases(connection: Connection, model_name: str, version: int) -> dict[str, list[_Phase]]:
    """The truths that answers with more than one label had, one after the other."""
    several = (
        select(feedback.c.prediction_id)
        .join(judged, judged.c.prediction_id == feedback.c.prediction_id)
        .where(judged.c.model_name == model_name, judged.c.model_version == version)
        .group_by(feedback.c.prediction_id)
        .having(func.count() > 1)
    )
    query = select(feedback).where(feedback.c.prediction_id.in_(several))
    rows = connection.execute(query.order_by(feedback.c.prediction_id, feedback.c.id)).mappings()
    return {
        key: list(_told_one_by_one([dict(row) for row in given]))
        for key, given in groupby(rows, key=lambda row: str(row["prediction_id"]))
    }


def _told_one_by_one(rows: Sequence[Mapping[str, Any]]) -> Iterator[_Phase]:
    """How the truth of one answer changed, from all labels it ever had, in the order they came."""
    place = {row["id"]: number for number, row in enumerate(rows)}
    held: tuple[str, str] | None = None
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if number + 1 < len(rows) and rows[number + 1]["received_at"] == row["received_at"]:
            continue  # taken in one transaction with the next
        current = [
            Current(each["id"], each["prediction_id"], each["label"], each["source"], each["at"])
            for each in rows[: number + 1]
            if each["superseded_by"] is None or place[each["superseded_by"]] > number
        ]
        for truth in truths(current).values():
            source = cast("Source", truth.source)  # a review speaks under the source it amends
            if held != (truth.label, source):
                yield _Phase(row["received_at"], truth.label, source, source not in seen)
                held = (truth.label, source)
                seen.add(source)


def _kept_phase(row: Judged, phases: Sequence[_Phase]) -> int | None:
    """Which phase gave the row the number it has; None where the phases do not lead to it."""
    if not phases or (phases[-1].label, phases[-1].source) != (row.truth, row.source):
        return None
    return next(place for place, each in enumerate(phases) if each.source == row.source)


def _around(row: Judged, phases: Sequence[_Phase], kept: int, at: datetime) -> Iterator[tuple[Place, Heard]]:
    """What the store held of an answer before its present number, and how its label was changed after."""
    for place, phase in enumerate(phases):
        if place == kept:
            continue
        moment = min(phase.at, at) if place < kept else max(phase.at, at)
        told = replace(row, truth=phase.label, source=phase.source, known_at=_known(phases, place))
        if phase.source != "audit":
            told = replace(told, weight=CENSUS.weight, share=CENSUS.share)
        rank = 2 if place > kept else int(place > 0)
        yield (moment, rank, row.prediction_id), Heard(moment, told, phase.numbered)


def _known(phases: Sequence[_Phase], place: int) -> datetime:
    """When the source of a phase first spoke."""
    return next(each.at for each in phases if each.source == phases[place].source)


def pinned(connection: Connection, model_name: str, version: int) -> list[Pinned]:
    """A version's baselines in the order they were measured."""
    query = select(baselines.c.at, baselines.c.kind, baselines.c.host_class, baselines.c.numbers).where(
        baselines.c.model_name == model_name, baselines.c.model_version == version
    )
    return [Pinned(**row._mapping) for row in connection.execute(query.order_by(baselines.c.at, baselines.c.kind))]


def moments(connection: Connection, model_name: str, rule: str, start: datetime) -> dict[datetime, datetime]:
    """When a rule's slots were evaluated in fact: slot to moment."""
    query = select(evaluations.c.slot, evaluations.c.at).where(
        evaluations.c.model_name == model_name, evaluations.c.rule == rule, evaluations.c.at >= start
    )
    return {row.slot: row.at for row in connection.execute(query)}


def latencies(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> dict[int, HostBins]:
    """How many requests took how long: minute to host class to bin."""
    query = select(tallies.c.minute, tallies.c.host_class, tallies.c.latency).where(
        tallies.c.model_name == model_name,
        tallies.c.model_version == version,
        tallies.c.minute >= minute_of(start),
        tallies.c.minute <= minute_of(end),
    )
    found: dict[int, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in connection.execute(query):
        found[row.minute][row.host_class].update({int(place): n for place, n in row.latency.items()})
    return {minute: dict(hosts) for minute, hosts in found.items()}


def begun_minutes(
    connection: Connection, model_name: str, version: int, ends: Iterable[datetime]
) -> dict[datetime, Mapping[int, int]]:
    """The latencies of the answers from the beginning of a moment's minute up to it, for those that have any."""
    wanted = sorted(set(ends))
    given: dict[int, list[tuple[datetime, str, float]]] = defaultdict(list)
    for first in range(0, len(wanted), _AT_ONCE):
        spans = _spans(wanted[first : first + _AT_ONCE])
        query = select(predictions.c.at, predictions.c.request_id, predictions.c.latency_ms).where(
            predictions.c.model_name == model_name,
            predictions.c.model_version == version,
            predictions.c.at >= spans.c.start,
            predictions.c.at <= spans.c.end,
        )
        for row in connection.execute(query):
            given[minute_of(row.at)].append((row.at, row.request_id, row.latency_ms))
    found: dict[datetime, Mapping[int, int]] = {}
    for end in wanted:
        requests = {(at, request): spent for at, request, spent in given.get(minute_of(end), ()) if at <= end}
        if requests:
            found[end] = Counter(latency_bin(spent) for spent in requests.values())
    return found


def _spans(ends: Iterable[datetime]) -> CTE:
    """From the beginning of each moment's minute to it, as a table to join: the database looks each up by its index."""
    rows = [(start_of(minute_of(end)), end) for end in ends]
    return values(column("start", UtcDateTime), column("end", UtcDateTime)).data(rows).cte("spans")


def fired(connection: Connection, model_name: str, start: datetime, end: datetime) -> list[Fired]:
    """The alerts that fired in fact between two moments, in that order."""
    query = (
        select(alerts, alert_changes.c.at.label("ended_at"), alert_changes.c.to_state)
        .outerjoin(
            alert_changes,
            and_(alert_changes.c.alert_id == alerts.c.id, alert_changes.c.to_state.in_(("resolved", "superseded"))),
        )
        .where(alerts.c.model_name == model_name, alerts.c.fired_at >= start, alerts.c.fired_at <= end)
        .order_by(alerts.c.fired_at, alerts.c.id)
    )
    return [
        Fired(
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
