"""The verdict on a candidate, from evidence alone; it knows no store, no model and no promotion.

A candidate is promoted only when every check passes. One failed check keeps the champion; a check that the rows cannot
settle is inconclusive. `registry.gate.checks` says what each asks, and why several of them need no correction.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from registry.errors import GateError
from registry.gate import checks
from registry.gate.checks import GateCheck
from registry.gate.evidence import FirstVersionEvidence, GateEvidence, GatePolicy, evidence_from_json

__all__ = [
    "FirstVersionEvidence",
    "GateCheck",
    "GateEvidence",
    "GatePolicy",
    "Verdict",
    "VerdictOutcome",
    "first_version_verdict",
    "gate_verdict",
    "replay_verdict",
]

VerdictOutcome = Literal["promote", "keep", "inconclusive"]
TRADE_OFF_REASON = (
    "It is better on the recent rows all the same: if the old world is gone for good, a person may accept this trade "
    "and promote it by hand; the gate does not."
)


@dataclass(frozen=True)
class Verdict:
    """What follows from the checks, and the sentences that say why."""

    outcome: VerdictOutcome
    reasons: tuple[str, ...]
    checks: tuple[GateCheck, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        try:
            raw = json.loads(text)
            found = tuple(GateCheck(**check) for check in raw["checks"])
            verdict = cls(raw["outcome"], tuple(raw["reasons"]), found)
        except (ValueError, TypeError, KeyError) as error:
            raise GateError(f"{text[:60]!r} is no verdict: give the text of Verdict.to_json") from error
        if verdict.outcome not in get_args(VerdictOutcome):
            raise GateError(f"Outcome {verdict.outcome!r} is none of {', '.join(get_args(VerdictOutcome))}")
        return verdict


def gate_verdict(evidence: GateEvidence | FirstVersionEvidence) -> Verdict:
    """Judge a candidate against the champion, or a first version against its floor."""
    if isinstance(evidence, FirstVersionEvidence):
        return first_version_verdict(evidence.correct, evidence.total, evidence.floor, evidence.alpha)
    policy, pinned = evidence.policy, checks.check_golden_set(evidence)
    size = evidence.candidate_bytes / evidence.champion_bytes
    asked = (
        pinned,
        checks.check_golden_accuracy(evidence),
        checks.check_best_version(evidence),
        checks.check_benefit(evidence),
        checks.check_classes(evidence),
        checks.check_groups(evidence),
        checks.check_calibration(evidence),
        checks.check_robustness(evidence),
        checks.check_latency(evidence),
        checks.check_ratio("size", "model file", size, policy.size_ratio_max),
    )
    answered = tuple(check for check in asked if check is not None)
    if pinned.passed is None:
        return Verdict("inconclusive", (pinned.detail,), answered)
    verdict = _verdict_from_checks(*answered)
    if _is_trade_off(verdict):
        verdict = replace(verdict, reasons=(*verdict.reasons, TRADE_OFF_REASON))
    warning = checks.strong_disturbance_warning(evidence)
    return verdict if warning is None else replace(verdict, reasons=(*verdict.reasons, warning))


def first_version_verdict(correct: int, total: int, floor: float = 0.90, alpha: float = 0.05) -> Verdict:
    """Judge a first version, which has no champion to beat: its golden accuracy must surely reach `floor`."""
    return _verdict_from_checks(checks.check_first_version(correct, total, floor, alpha))


def replay_verdict(text: str) -> Verdict:
    """The verdict that stored evidence leads to: the text of `Evidence.to_json` or `First.to_json`."""
    return gate_verdict(evidence_from_json(text))


def _is_trade_off(verdict: Verdict) -> bool:
    """Whether the only thing against the candidate is the golden world, while it is better on the recent one."""
    return {check.name for check in verdict.checks if not check.passed} in ({"golden"}, {"best"}, {"golden", "best"})


def _verdict_from_checks(*answered: GateCheck) -> Verdict:
    failed = tuple(check.detail for check in answered if check.passed is False)
    unsettled = tuple(check.detail for check in answered if check.passed is None)
    if failed:
        return Verdict("keep", failed, answered)
    if unsettled:
        return Verdict("inconclusive", unsettled, answered)
    return Verdict("promote", tuple(check.detail for check in answered), answered)
