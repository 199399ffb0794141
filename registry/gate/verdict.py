"""The verdict on a candidate, from evidence alone; it knows no store, no model and no promotion.

A candidate is promoted only when every check passes. One failed check keeps the champion; a check that the rows cannot
settle is inconclusive. `registry.gate.checks` says what each asks, and why several of them need no correction.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from registry.errors import GateError
from registry.gate import checks
from registry.gate.checks import Check
from registry.gate.evidence import Evidence, First, GatePolicy, from_json

__all__ = ["Check", "Evidence", "First", "GatePolicy", "Outcome", "Verdict", "decide", "decide_first", "replay"]

Outcome = Literal["promote", "keep", "inconclusive"]
TRADE = (
    "It is better on the recent rows all the same: if the old world is gone for good, a person may accept this trade "
    "and promote it by hand; the gate does not."
)


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
            found = tuple(Check(**check) for check in raw["checks"])
            verdict = cls(raw["outcome"], tuple(raw["reasons"]), found)
        except (ValueError, TypeError, KeyError) as error:
            raise GateError(f"{text[:60]!r} is no verdict: give the text of Verdict.to_json") from error
        if verdict.outcome not in get_args(Outcome):
            raise GateError(f"Outcome {verdict.outcome!r} is none of {', '.join(get_args(Outcome))}")
        return verdict


def decide(evidence: Evidence | First) -> Verdict:
    """Judge a candidate against the champion, or a first version against its floor."""
    if isinstance(evidence, First):
        return decide_first(evidence.correct, evidence.total, evidence.floor, evidence.alpha)
    policy, pinned = evidence.policy, checks.pinned(evidence)
    size = evidence.candidate_bytes / evidence.champion_bytes
    asked = (
        pinned,
        checks.golden(evidence),
        checks.best(evidence),
        checks.benefit(evidence),
        checks.classes(evidence),
        checks.groups(evidence),
        checks.calibration(evidence),
        checks.robustness(evidence),
        checks.latency(evidence),
        checks.ratio("size", "model file", size, policy.size_ratio_max),
    )
    answered = tuple(check for check in asked if check is not None)
    if pinned.passed is None:
        return Verdict("inconclusive", (pinned.detail,), answered)
    verdict = _conclude(*answered)
    if _is_trade(verdict):
        verdict = replace(verdict, reasons=(*verdict.reasons, TRADE))
    warning = checks.warning(evidence)
    return verdict if warning is None else replace(verdict, reasons=(*verdict.reasons, warning))


def decide_first(correct: int, total: int, floor: float = 0.90, alpha: float = 0.05) -> Verdict:
    """Judge a first version, which has no champion to beat: its golden accuracy must surely reach `floor`."""
    return _conclude(checks.first(correct, total, floor, alpha))


def replay(text: str) -> Verdict:
    """The verdict that stored evidence leads to: the text of `Evidence.to_json` or `First.to_json`."""
    return decide(from_json(text))


def _is_trade(verdict: Verdict) -> bool:
    """Whether the only thing against the candidate is the golden world, while it is better on the recent one."""
    return {check.name for check in verdict.checks if not check.passed} in ({"golden"}, {"best"}, {"golden", "best"})


def _conclude(*answered: Check) -> Verdict:
    failed = tuple(check.detail for check in answered if check.passed is False)
    unsettled = tuple(check.detail for check in answered if check.passed is None)
    if failed:
        return Verdict("keep", failed, answered)
    if unsettled:
        return Verdict("inconclusive", unsettled, answered)
    return Verdict("promote", tuple(check.detail for check in answered), answered)
