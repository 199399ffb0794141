"""The checks that a candidate must pass by showing that it is good enough: golden rows, best version, benefit."""

import numpy as np

from registry.gate.checks import (
    GateCheck,
    difference_numbers,
    format_change,
    format_percent,
    format_points,
    format_range,
    share_with_bounds,
)
from registry.gate.evidence import BestVersion, GateEvidence
from registry.gate.paired_comparison import PairedPredictions, exact_bounds, mcnemar_exact, square_and_add
from registry.gate.policy import GatePolicy


def check_golden_set(evidence: GateEvidence) -> GateCheck:
    """Whether the golden rows are the ones the champion was judged on; no other check means much if they are not."""
    now, then = evidence.golden_digest, evidence.champion_digest
    if not (now and then):
        return GateCheck("pinned", True, "The champion noted no identity of its golden set; the next one will.")
    if now == then:
        return GateCheck("pinned", True, f"The golden set is the one the champion was judged on ({now[:12]}).")
    detail = (
        f"The golden set is {now[:12]}, the champion was judged on {then[:12]}: scores cannot be compared. Bring the "
        "old golden set back, or let a person promote a version judged on the new one, which pins it."
    )
    return GateCheck("pinned", None, detail)


def check_golden_accuracy(evidence: GateEvidence) -> GateCheck:
    """Whether the candidate is surely not worse than the champion on the golden rows."""
    rows, policy = evidence.golden, evidence.policy
    numbers = difference_numbers(rows, policy.alpha)
    return _non_inferiority("golden", rows.n, numbers, policy, format_change(rows, numbers))


def check_best_version(evidence: GateEvidence) -> GateCheck | None:
    """Whether it is surely not worse than the best there ever was, so that margins do not add up over promotions."""
    record, rows, policy = evidence.best, evidence.golden, evidence.policy
    if record is None:
        return None
    against = f"than version {record.version}, the best champion so far,"
    if record.right is None:
        numbers = _unpaired_difference(rows, record, policy.alpha)
        change = f"{format_points(numbers['difference'], sign=True)} {format_range(numbers)}, from its counts alone"
    else:
        rows = PairedPredictions(
            np.ones(rows.n, np.int64), record.right, rows.candidate_correct.astype(np.int64), "golden"
        )
        numbers = difference_numbers(rows, policy.alpha)
        change = format_change(rows, numbers)
    return _non_inferiority("best", rows.n, numbers, policy, change, against)


def check_benefit(evidence: GateEvidence) -> GateCheck:
    """Whether the candidate is surely better where the world moved, by the least benefit at least."""
    rows, policy = _benefit_rows(evidence), evidence.policy
    recent = rows if evidence.feedback is None or not evidence.feedback.n else evidence.feedback
    better, worse = mcnemar_exact(rows.losses, rows.gains), mcnemar_exact(recent.gains, recent.losses)
    numbers = difference_numbers(rows, policy.alpha)
    more = f" of more than {format_points(policy.min_benefit)}" if policy.min_benefit else ""
    passed: bool | None = worse >= policy.alpha and better < policy.alpha and numbers["low"] > policy.min_benefit
    finding = f"shows a benefit{more}" if passed else f"shows no benefit{more}"
    shown_rows, p_value = rows, better
    if worse < policy.alpha:
        finding, shown_rows, p_value = "is worse", recent, worse
    elif rows.n < policy.min_rows:
        passed, finding = None, f"cannot show a benefit, as {policy.min_rows} rows are needed"
    detail = (
        f"On {shown_rows.n} {shown_rows.origin} rows the candidate {finding}: "
        f"{format_change(shown_rows, difference_numbers(shown_rows, policy.alpha))}, "
        f"exact McNemar p = {p_value:.2g}."
    )
    return GateCheck("benefit", passed, detail, numbers | {"p_better": better, "p_worse": worse})


def check_first_version(correct: int, total: int, floor: float, alpha: float) -> GateCheck:
    """Whether the golden accuracy of a first version surely reaches the floor."""
    low, high = exact_bounds(correct, total, alpha)
    passed = True if low >= floor else False if high < floor else None
    share = correct / total if total else 0.0
    detail = (
        f"Golden accuracy is {format_percent(share)} on {total} rows, at least {format_percent(low)} with "
        f"{format_percent(1 - alpha, 0)} confidence; a first version needs {format_percent(floor)}."
    )
    numbers = {"accuracy": share, "low": low, "high": high, "floor": floor, "rows": float(total)}
    return GateCheck("first", passed, detail, numbers)


def _non_inferiority(
    name: str, n: int, numbers: dict[str, float], policy: GatePolicy, change: str, against: str = ""
) -> GateCheck:
    margin = policy.golden_margin
    numbers = numbers | {"margin": margin}
    if n < policy.min_rows:
        needed = f"The golden set has {n} rows; {policy.min_rows} are needed to rule out harm."
        return GateCheck(name, None, needed, numbers)
    passed = True if numbers["low"] > -margin else False if numbers["high"] < -margin else None
    verb = {True: "is not worse", False: "is worse", None: "may be worse"}[passed]
    limit = f"{against} by more than {format_points(margin)}".strip()
    return GateCheck(name, passed, f"On {n} golden rows the candidate {verb} {limit}: {change}.", numbers)


def _benefit_rows(evidence: GateEvidence) -> PairedPredictions:
    feedback = evidence.feedback
    if feedback is not None and feedback.n >= evidence.policy.min_rows:
        return feedback
    return evidence.all_rows if feedback is not None and feedback.n else evidence.golden


def _unpaired_difference(rows: PairedPredictions, record: BestVersion, alpha: float) -> dict[str, float]:
    correct = int(rows.candidate_correct.sum())
    shares = [share_with_bounds(correct, rows.n, alpha), share_with_bounds(record.correct, record.total, alpha)]
    low, high = square_and_add(shares[0], shares[1])
    return {"rows": float(rows.n), "difference": shares[0][0] - shares[1][0], "low": low, "high": high}
