"""What early warnings about answers rest on: minutes not read yet, answers by class, the first ones; no decision."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from mlplatform.alerting import detector_state, evaluations
from mlplatform.predictions import prediction_counts
from mlplatform.promotion import promotion_history
from monitors.decisions.drift import FIRST_ANSWERS
from monitors.decisions.performance_estimation import Minute, advance, definition
from monitors.decisions.rule_detectors import WHOLE
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector
from monitors.windows.window import Doubts, First
from monitors.windows.window_counts import Bins
from registry.confidence_bins import Doubt

READ_AT_ONCE: Final = 10_000
SETTLED: Final = timedelta(minutes=2)
"""A minute is read when it has been over for so long: servers write their answers a little later than they give them.
What comes later still, after a database was away, is missed by the detector, and is in the window."""
HEAD_START: Final = timedelta(hours=1)
"""As for labels: a version begins with the false-alarm budget of one hour."""
Kinds = Mapping[str, Mapping[str, Mapping[str, Any]]]
FIRST_KIND: Final = "answers"


def doubts_of(kinds: Kinds) -> Doubts | None:
    """What the version's confidence is worth, pinned when it was promoted."""
    numbers = kinds.get("calibration", {}).get("")
    if numbers is None:
        return None
    golden = {int(step): int(n) for step, n in numbers["golden"].items()}
    doubt = Doubt(numbers["offset"], numbers["slope"], numbers["rows"], golden)
    return Doubts(doubt.errors(), golden) if golden else None


def first_of(kinds: Kinds) -> First | None:
    """The mix of the version's first answers, pinned when it was complete."""
    numbers = kinds.get(FIRST_KIND, {}).get("")
    if numbers is None:
        return None
    return First(numbers["shares"], prediction_counts.start_of(numbers["until"]))


def pin_first(connection: Connection, champion: promotion_history.Promotion, now: datetime) -> None:
    """Keep the mix of the version's first FIRST_ANSWERS answers, in whole minutes, once there are as many."""
    name, version = champion.model_name, champion.to_version
    if FIRST_KIND in evaluations.baselines_of(connection, name, version):
        return
    shares, settled = Counter[str](), prediction_counts.minute_of(now - SETTLED) - 1
    for minute, given in prediction_counts.by_minute(connection, name, version, 0, settled, 2 * FIRST_ANSWERS):
        shares.update(_mix(given))
        if shares.total() >= FIRST_ANSWERS:
            numbers = {"shares": dict(shares), "until": minute + 1}
            evaluations.set_baseline(connection, name, version, FIRST_KIND, "", numbers, now)
            return


def given_since(
    connection: Connection, champion: promotion_history.Promotion, first: First | None, start: datetime, now: datetime
) -> Mapping[str, Bins]:
    """The answers of a window by class and step of confidence, without the first ones they are held against."""
    begun = start if first is None else max(start, first.until)
    return (
        {}
        if begun >= now
        else prediction_counts.labels(connection, champion.model_name, champion.to_version, begun, now)
    )


def read_minutes(
    connection: Connection, rule: Rule, doubts: Doubts | None, champion: promotion_history.Promotion, now: datetime
) -> detector_state.Held | None:
    """What the rule's detector remembers after the minutes it had not read; None where the rule has none.

    At most READ_AT_ONCE rows are read: what is left waits for the next evaluation.
    """
    if rule.false_alarms is None or doubts is None:
        return None
    name, version, digest = champion.model_name, champion.to_version, definition(rule, doubts)
    held = detector_state.held(connection, name, version, rule.name)
    if held is None or held.definition != digest:
        held = detector_state.Held(digest, 0, {})
    settled = prediction_counts.minute_of(now - SETTLED) - 1
    minutes = [
        Minute(number, prediction_counts.start_of(number + 1), _steps(given))
        for number, given in prediction_counts.by_minute(connection, name, version, held.cursor, settled, READ_AT_ONCE)
    ]
    before = held.streams.get(WHOLE)
    state = None if before is None else Detector.from_json(before)
    after, last = advance(rule, doubts, state, minutes, champion.at - HEAD_START)
    return detector_state.Held(digest, held.cursor if last is None else last, {WHOLE: after.to_json()})


def _mix(given: Mapping[str, Bins]) -> dict[str, int]:
    return {label: sum(steps.values()) for label, steps in given.items()}


def _steps(given: Mapping[str, Bins]) -> Bins:
    every = Counter[int]()
    for steps in given.values():
        every.update(steps)
    return every
