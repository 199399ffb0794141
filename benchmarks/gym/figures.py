"""The gym's figures, from what was played: false alarms, delays, missed changes, renewal; they play nothing."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.gym.play import Played
from benchmarks.gym.rivals import Rival, alarms
from benchmarks.gym.scenarios import Scenario

OURS: Final = "ours"
NANNYML_NAME: Final = "nannyml-cbpe"
BESIDE: Final = (OURS, NANNYML_NAME)
"""Not among the equals: NannyML reads no labels, so it cannot be set to as many false alarms on them."""
INFINITE: Final = float("inf")


@dataclass(frozen=True)
class Equal:
    """Rivals by name, set to be as calm as ours, every rival, and our false alarms in so many times 90 days."""

    settings: Mapping[str, tuple[Rival, float]]
    rivals: Sequence[Rival]
    ours: Sequence[int]
    runs: int

    @property
    def most_by_luck(self) -> float:
        """How many false alarms so many streams may raise where each is expected to raise one: two standard errors."""
        return self.runs + 2 * math.sqrt(self.runs)


@dataclass(frozen=True)
class Limits:
    """Error shares: what the rule allows at most, what the naive rule holds against, and what is usual.

    `due`: the streams whose change goes beyond what a rule allows; another need not be found.
    """

    allowed: float
    naive: float
    usual: float
    due: frozenset[str]


def summed_up(
    chosen: Sequence[Scenario],
    found: Mapping[str, Sequence[Played]],
    renewed: Mapping[str, Sequence[Played]],
    equal: Mapping[int, Equal],
    limits: Limits,
    estimates: Mapping[str, Sequence[int]] | None,
) -> dict[str, Any]:
    """The figures of the last line."""
    healthy = [each for each in chosen if each.is_healthy]
    within = all(
        sum(one.false_alarms for one in found[each.name]) <= math.ceil(2 * each.days * len(found[each.name]) / 90)
        for each in healthy
    )
    evaluations = sum(one.evaluations for each in healthy for one in found[each.name])
    calm = [one for each in healthy if each.rule != "latency" for one in found[each.name]]
    per_1000 = {OURS: 1000 * sum(one.false_alarms for one in calm) / max(1, evaluations)}
    for rival in next((each.rivals for each in equal.values()), ()):
        raised = sum(len(alarms(lambda: rival.make(rival.usual), one.wrong)) for one in calm)  # noqa: B023
        per_1000[rival.name] = 1000 * raised / max(1, evaluations)
    if estimates is not None:
        days = [len(estimates[f"{one.scenario}-{one.seed}"]) for one in calm]
        per_1000[NANNYML_NAME] = 1000 * sum(days) / max(1, sum(len(one.known_by_day) for one in calm))
    taken = taken_labels([each for each in chosen if not each.is_healthy], found, equal, estimates)
    delays, ratios = compared(taken)
    promoted = [each for many in renewed.values() for one in many for each in one.promotions]
    return {
        "false_alarms_within_budget": within,
        "false_alarms": {each.name: sum(one.false_alarms for one in found[each.name]) for each in healthy},
        "true_alarms_of_healthy_streams": {
            each.name: sum(one.standing for one in found[each.name]) for each in healthy
        },
        "false_alarms_per_1000": {name: round(value, 3) for name, value in per_1000.items()},
        "delay_labels_median": {name: _median(itertools.chain(*each.values())) for name, each in taken.items()},
        "delays": delays,
        "delay_ratio": _rounded(max(ratios.values())) if ratios else None,
        "delay_ratios": {name: _rounded(value) for name, value in ratios.items()},
        "missed": {
            name: sum(value == INFINITE for stream in limits.due & each.keys() for value in each[stream])
            for name, each in taken.items()
        },
        "due": sorted(limits.due),
        "at_the_limit": {
            str(per_day): {
                "false_alarms": each.ours,
                "allowed": each.runs,
                "within": max(each.ours) <= each.most_by_luck,
            }
            for per_day, each in equal.items()
        },
        "labels": {name: statistics.median(one.labels for one in many) for name, many in found.items()},
        "harmful_promotions": sum(each.is_harmful for each in promoted),
        "promotions": len(promoted),
        "rollbacks": sum(one.rollbacks for many in renewed.values() for one in many),
        "benign_retrains": sum(one.retrainings for one in renewed["benign"]) if "benign" in renewed else None,
    } | renewal([each for each in chosen if each.name in limits.due], renewed)


def taken_labels(
    changed: Sequence[Scenario],
    found: Mapping[str, Sequence[Played]],
    equal: Mapping[int, Equal],
    estimates: Mapping[str, Sequence[int]] | None,
) -> dict[str, dict[str, list[float]]]:
    """Labels from change to alarm by detector and stream, one for each seed; infinite for a change that was missed."""
    taken: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for scenario in changed:
        if scenario.rule == "latency":
            continue
        many = found[scenario.name]
        taken[OURS][scenario.name] = [INFINITE if one.delay_labels is None else one.delay_labels for one in many]
        for name, (rival, knob) in equal[scenario.per_day].settings.items():
            taken[name][scenario.name] = [_delay(rival, knob, one) for one in many]
        if estimates is not None:
            alarmed = [estimates[f"{one.scenario}-{one.seed}"] for one in many]
            waited = [_by_the_day(days, scenario, one) for days, one in zip(alarmed, many, strict=True)]
            taken[NANNYML_NAME][scenario.name] = waited
    return taken


def compared(
    taken: Mapping[str, Mapping[str, Sequence[float]]],
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Delays by detector and stream (median and 90th percentile), and ours over those of the best equal rival."""
    delays = {
        name: {stream: {"median": _median(each), "p90": _finite(_p90(each))} for stream, each in streams.items()}
        for name, streams in taken.items()
    }
    ratios = {}
    for stream, mine in taken.get(OURS, {}).items():
        others = [each[stream] for name, each in taken.items() if name not in BESIDE and stream in each]
        best = min((statistics.median(each) for each in others), default=INFINITE)
        if best < INFINITE:
            ratios[stream] = statistics.median(mine) / best
    return delays, ratios


def renewal(chosen: Sequence[Scenario], renewed: Mapping[str, Sequence[Played]]) -> dict[str, Any]:
    """What renewal regained of what these changes took, and what it cost on the old world.

    They are those beyond what the rules allow: where a change is allowed, nothing asks for a renewal.
    """
    shares, losses = [], []
    for scenario in chosen:
        for one in renewed.get(scenario.name, ()):
            got = one.accuracy
            if scenario.changes:
                shares.append((got["after"] - got["drifted"]) / (got["before"] - got["drifted"]))
                losses.append(100 * (got["before"] - got["old_after"]))
    return {
        "recovered_share": round(statistics.median(shares), 3) if shares else None,
        "recovered_shares": [round(each, 3) for each in shares],
        "old_world_loss_points": round(statistics.median(losses), 2) if losses else None,
        "old_world_losses": [round(each, 2) for each in losses],
    }


def _delay(rival: Rival, knob: float, one: Played) -> float:
    change = one.changed_at or 0
    found = alarms(lambda: rival.make(knob), one.wrong)
    return next((place - change + 1.0 for place in found if place >= change), INFINITE)


def _by_the_day(alarmed: Sequence[int], scenario: Scenario, one: Played) -> float:
    """The labels that had come by the end of the first day of alarm after the change."""
    first = next((day for day in alarmed if day >= scenario.changes[0]), None)
    return INFINITE if first is None else float(one.known_by_day[first] - (one.changed_at or 0))


def _median(values: Iterable[float]) -> float | None:
    return _finite(statistics.median([*values] or [INFINITE]))


def _p90(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.9 * len(values)))]


def _rounded(ratio: float) -> float | None:
    """None where ours misses, in most streams, what another one finds."""
    return None if ratio == INFINITE else round(ratio, 3)


def _finite(value: float) -> float | None:
    return None if value == INFINITE else value
