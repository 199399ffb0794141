"""Decides from the evidence whether a candidate may be promoted: promote, keep or inconclusive.

A candidate is promoted only when every check passes. One failed check keeps the champion; a check that the rows cannot
settle, such as a benefit that they do not show, is inconclusive. `registry.gate.checks` says why several checks need no
correction.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from registry.errors import GateError
from registry.gate import benefit_checks, class_check, harm_checks
from registry.gate.checks import GateCheck
from registry.gate.evidence import FirstVersionEvidence, GateEvidence, evidence_from_json
from registry.gate.policy import GatePolicy

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
            checks = tuple(GateCheck(**check) for check in raw["checks"])
            verdict = cls(raw["outcome"], tuple(raw["reasons"]), checks)
        except (ValueError, TypeError, KeyError) as error:
            raise GateError(f"{text[:60]!r} is no verdict: give the text of Verdict.to_json") from error
        if verdict.outcome not in get_args(VerdictOutcome):
            raise GateError(f"Outcome {verdict.outcome!r} is none of {', '.join(get_args(VerdictOutcome))}")
        return verdict


def gate_verdict(evidence: GateEvidence | FirstVersionEvidence) -> Verdict:
    """Judge a candidate against the champion, or a first version against its floor."""
    if isinstance(evidence, FirstVersionEvidence):
        return first_version_verdict(evidence.correct, evidence.total, evidence.floor, evidence.alpha)
    policy, pinned = evidence.policy, benefit_checks.check_golden_set(evidence)
    size = evidence.candidate_bytes / evidence.champion_bytes
    optional_checks = (
        pinned,
        benefit_checks.check_golden_accuracy(evidence),
        benefit_checks.check_best_version(evidence),
        benefit_checks.check_benefit(evidence),
        class_check.check_classes(evidence),
        harm_checks.check_groups(evidence),
        harm_checks.check_calibration(evidence),
        harm_checks.check_robustness(evidence),
        harm_checks.check_latency(evidence),
        harm_checks.check_ratio("size", "model file", size, policy.size_ratio_max),
    )
    checks = tuple(check for check in optional_checks if check is not None)
    set_aside = _set_aside_labels(evidence)
    if pinned.passed is None:
        return Verdict("inconclusive", (pinned.detail, *set_aside), checks)
    verdict = _verdict_from_checks(*checks)
    if _is_trade_off(verdict):
        verdict = replace(verdict, reasons=(*verdict.reasons, TRADE_OFF_REASON))
    warning = harm_checks.strong_disturbance_warning(evidence)
    return replace(verdict, reasons=(*verdict.reasons, *set_aside, *(() if warning is None else (warning,))))


def first_version_verdict(correct: int, total: int, floor: float = 0.90, alpha: float = 0.05) -> Verdict:
    """Judge a first version, which has no champion to beat: its golden accuracy must surely reach `floor`."""
    return _verdict_from_checks(benefit_checks.check_first_version(correct, total, floor, alpha))


def replay_verdict(text: str) -> Verdict:
    """The verdict that stored evidence, the text of its `to_json`, leads to."""
    return gate_verdict(evidence_from_json(text))


def _set_aside_labels(evidence: GateEvidence) -> tuple[str, ...]:
    """What to know where more than half of the labels neither train nor judge because of the rows that do."""
    given, aside = evidence.labels, evidence.labels_set_aside
    if 2 * aside <= given:
        return ()
    sentence = (
        f"{aside} of {given} labels neither trained nor judged: their events may be rows that the base data holds, or "
        "they are of days that golden rows judge. Base data whose newest rows are older leave more labels."
    )
    return (sentence,)


def _is_trade_off(verdict: Verdict) -> bool:
    """Whether the only thing against the candidate is the golden world, while it is better on the recent one."""
    return {check.name for check in verdict.checks if not check.passed} in ({"golden"}, {"best"}, {"golden", "best"})


def _verdict_from_checks(*checks: GateCheck) -> Verdict:
    failed = tuple(check.detail for check in checks if check.passed is False)
    unsettled = tuple(check.detail for check in checks if check.passed is None)
    if failed:
        return Verdict("keep", failed, checks)
    if unsettled:
        return Verdict("inconclusive", unsettled, checks)
    return Verdict("promote", tuple(check.detail for check in checks), checks)
