"""The verdict on a candidate, from numbers alone; it knows no store, no model and no promotion.

A candidate is promoted only when every check passes. It may not be worse on the golden set by more than a
margin, it must be shown better where the world moved, it may not give up a class, and it may not be much
slower or larger. One failed check keeps the champion; a check that the rows cannot settle is inconclusive.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from registry.errors import GateError
from registry.paired import Comparison, difference_bounds, exact_bounds, holm, mcnemar_exact

Outcome = Literal["promote", "keep", "inconclusive"]


@dataclass(frozen=True)
class GatePolicy:
    """How sure and how strict the gate is; margins are shares of accuracy."""

    alpha: float = 0.05
    golden_margin: float = 0.02
    class_margin: float = 0.10
    latency_ratio_max: float = 1.5
    size_ratio_max: float = 1.5
    min_rows: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise GateError(f"alpha is {self.alpha}: choose a chance of error between 0 and 0.5")
        for name in ("golden_margin", "class_margin"):
            if not 0 <= getattr(self, name) < 1:
                raise GateError(f"{name} is {getattr(self, name)}: choose a share from 0 to below 1")
        for name in ("latency_ratio_max", "size_ratio_max", "min_rows"):
            if not getattr(self, name) > 0:
                raise GateError(f"{name} is {getattr(self, name)}: choose a number above 0")


@dataclass(frozen=True)
class Evidence:
    """Everything the gate looks at: both models on the same rows, and what each costs to run."""

    golden: Comparison
    feedback: Comparison | None
    classes: tuple[str, ...]
    champion_latency_p95_ms: float
    candidate_latency_p95_ms: float
    champion_bytes: int
    candidate_bytes: int

    def __post_init__(self) -> None:
        costs = (
            self.champion_latency_p95_ms,
            self.candidate_latency_p95_ms,
            self.champion_bytes,
            self.candidate_bytes,
        )
        if not all(cost > 0 for cost in costs):
            raise GateError(f"Latencies and sizes are {costs}: measure both models, each is above 0")
        labels = self.all_rows.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise GateError(f"A label is outside 0..{len(self.classes) - 1}: drop rows of unknown classes")

    @property
    def all_rows(self) -> Comparison:
        return self.golden if self.feedback is None else self.golden.joined(self.feedback)


@dataclass(frozen=True)
class Check:
    """One question of the gate: passed, failed, or (None) not settled by these rows."""

    name: str
    passed: bool | None
    detail: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What follows from the checks, and the sentences that say why."""

    outcome: Outcome
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        try:
            raw = json.loads(text)
            checks = tuple(Check(**check) for check in raw["checks"])
            verdict = cls(raw["outcome"], tuple(raw["reasons"]), checks)
        except (ValueError, TypeError, KeyError) as error:
            raise GateError(f"{text[:60]!r} is no verdict: give the text of Verdict.to_json") from error
        if verdict.outcome not in get_args(Outcome):
            raise GateError(f"Outcome {verdict.outcome!r} is none of {', '.join(get_args(Outcome))}")
        return verdict


def decide(evidence: Evidence, policy: GatePolicy | None = None) -> Verdict:
    """Judge a candidate against the champion."""
    policy = policy or GatePolicy()
    return _conclude(
        _golden_check(evidence.golden, policy),
        _benefit_check(_benefit_rows(evidence, policy), policy),
        _class_check(evidence, policy),
        _ratio_check(
            "latency",
            "p95 latency",
            evidence.candidate_latency_p95_ms / evidence.champion_latency_p95_ms,
            policy.latency_ratio_max,
        ),
        _ratio_check("size", "model file", evidence.candidate_bytes / evidence.champion_bytes, policy.size_ratio_max),
    )


def decide_first(correct: int, total: int, floor: float = 0.90, alpha: float = 0.05) -> Verdict:
    """Judge a first version, which has no champion to beat: its golden accuracy must surely reach `floor`."""
    low, high = exact_bounds(correct, total, alpha)
    passed = True if low >= floor else False if high < floor else None
    share = correct / total if total else 0.0
    detail = (
        f"Golden accuracy is {_percent(share)} on {total} rows, at least {_percent(low)} with "
        f"{_percent(1 - alpha, 0)} confidence; a first version needs {_percent(floor)}."
    )
    numbers = {"accuracy": share, "low": low, "high": high, "floor": floor, "rows": float(total)}
    return _conclude(Check("first", passed, detail, numbers))


def _conclude(*checks: Check) -> Verdict:
    failed = tuple(check.detail for check in checks if check.passed is False)
    unsettled = tuple(check.detail for check in checks if check.passed is None)
    if failed:
        return Verdict("keep", failed, checks)
    if unsettled:
        return Verdict("inconclusive", unsettled, checks)
    return Verdict("promote", tuple(check.detail for check in checks), checks)


def _golden_check(golden: Comparison, policy: GatePolicy) -> Check:
    low, high = difference_bounds(golden, policy.alpha)
    passed: bool | None = None
    if golden.n < policy.min_rows:
        detail = f"The golden set has {golden.n} rows; {policy.min_rows} are needed to rule out harm."
    else:
        passed = True if low > -policy.golden_margin else False if high < -policy.golden_margin else None
        verb = {True: "is not worse", False: "is worse", None: "may be worse"}[passed]
        detail = (
            f"On {golden.n} golden rows the candidate {verb} by more than {_points(policy.golden_margin)}: "
            f"{_change(golden, low, high)}."
        )
    return Check("golden", passed, detail, _numbers(golden, low, high) | {"margin": policy.golden_margin})


def _benefit_rows(evidence: Evidence, policy: GatePolicy) -> Comparison:
    feedback = evidence.feedback
    if feedback is not None and feedback.n >= policy.min_rows:
        return feedback
    return evidence.all_rows if feedback is not None and feedback.n else evidence.golden


def _benefit_check(rows: Comparison, policy: GatePolicy) -> Check:
    better = mcnemar_exact(against=rows.lost, in_favour=rows.gained)
    worse = mcnemar_exact(against=rows.gained, in_favour=rows.lost)
    passed = True if better < policy.alpha else False if worse < policy.alpha else None
    finding = {True: "is better", False: "is worse", None: "shows no benefit"}[passed]
    p_value = worse if passed is False else better
    low, high = difference_bounds(rows, policy.alpha)
    detail = (
        f"On {rows.n} {rows.origin} rows the candidate {finding}: {_change(rows, low, high)}, "
        f"exact McNemar p = {p_value:.2g}."
    )
    return Check("benefit", passed, detail, _numbers(rows, low, high) | {"p_better": better, "p_worse": worse})


def _class_check(evidence: Evidence, policy: GatePolicy) -> Check:
    parts = [(name, evidence.all_rows.of_class(label)) for label, name in enumerate(evidence.classes)]
    parts = [(name, part) for name, part in parts if part.n]
    harmed = holm([mcnemar_exact(part.gained, part.lost) for _, part in parts], policy.alpha)
    losing = [
        (f"{name} ({_points(-part.difference)} of {part.n} rows)", proven)
        for (name, part), proven in zip(parts, harmed, strict=True)
        if -part.difference > policy.class_margin
    ]
    given_up = [text for text, proven in losing if proven]
    in_doubt = [text for text, proven in losing if not proven]
    numbers = {f"difference_{name}": part.difference for name, part in parts}
    limit = _points(policy.class_margin)
    detail = f"No class is shown to lose more than {limit}."
    if given_up:
        detail = f"The candidate loses more than {limit} on {', '.join(given_up)}."
    elif in_doubt:
        detail = f"The candidate may lose more than {limit} on {', '.join(in_doubt)}; these rows cannot settle it."
    return Check("classes", False if given_up else None if in_doubt else True, detail, numbers)


def _ratio_check(name: str, title: str, ratio: float, limit: float) -> Check:
    detail = f"The candidate's {title} is {ratio:.2f} times the champion's; the limit is {limit:g}."
    return Check(name, ratio <= limit, detail, {"ratio": ratio, "limit": limit})


def _numbers(rows: Comparison, low: float, high: float) -> dict[str, float]:
    return {
        "rows": float(rows.n),
        "gained": float(rows.gained),
        "lost": float(rows.lost),
        "difference": rows.difference,
        "low": low,
        "high": high,
    }


def _change(rows: Comparison, low: float, high: float) -> str:
    return (
        f"{rows.gained} rows gained, {rows.lost} lost, {_points(rows.difference, sign=True)} "
        f"({_points(low, sign=True)} to {_points(high, sign=True)})"
    )


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _points(share: float, *, sign: bool = False) -> str:
    return f"{round(100 * share, 1) + 0.0:{'+' if sign else ''}.1f} points"
