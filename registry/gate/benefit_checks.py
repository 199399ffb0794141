"""The checks that a candidate must pass by showing that it is good enough: golden rows, best version, benefit."""

import math
import sys

import numpy as np
from scipy import special

from registry.gate.checks import (
    GateCheck,
    attempt_level,
    difference_numbers,
    format_change,
    format_percent,
    format_points,
    format_range,
    share_with_bounds,
)
from registry.gate.evidence import BestVersion, GateEvidence
from registry.gate.paired_comparison import (
    FEWEST_BLOCKS,
    PairedPredictions,
    benefit_p_value,
    difference_bounds,
    exact_bounds,
    judged_block_bounds,
    square_and_add,
)
from registry.gate.policy import GatePolicy


def check_golden_set(evidence: GateEvidence) -> GateCheck:
    """Whether the golden rows are the ones the champion was judged on; no other check means much if they are not."""
    now, then = evidence.golden_digest, evidence.champion_digest
    if not evidence.unlearnt:
        detail = (
            f"Fewer than {evidence.policy.min_rows} golden rows are known to have taught neither model: nothing can be "
            "compared. Write the file anew with later rows, or wait for more days."
        )
        return GateCheck("pinned", None, detail)
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
    """Whether the candidate surely keeps the margin on the golden rows, and is not shown to lose the tolerance."""
    rows, policy = evidence.golden, evidence.policy
    numbers = difference_numbers(rows, policy.alpha, judged_block_bounds)
    return _non_inferiority("golden", rows.n, numbers, policy, format_change(rows, numbers) + _few_blocks(rows))


def check_best_version(evidence: GateEvidence) -> GateCheck | None:
    """The same against the best there ever was, so that neither margins nor tolerances add up over promotions."""
    record, rows, policy = evidence.best, evidence.golden, evidence.policy
    if record is None:
        return None
    against = f"than version {record.version}, the best champion so far,"
    if record.right is None:
        numbers = _unpaired_difference(rows, record, policy.alpha)
        change = f"{format_points(numbers['difference'], sign=True)} {format_range(numbers)}, from its counts alone"
    else:
        ones, candidate = np.ones(rows.n, np.int64), rows.candidate_correct.astype(np.int64)
        rows = PairedPredictions(ones, record.right, candidate, "golden", blocks=rows.blocks)
        numbers = difference_numbers(rows, policy.alpha, judged_block_bounds)
        change = format_change(rows, numbers) + _few_blocks(rows)
    return _non_inferiority("best", rows.n, numbers, policy, change, against)


def check_benefit(evidence: GateEvidence) -> GateCheck:
    """Whether the candidate is surely better where the world moved, by the least benefit at least.

    It is, if the recent rows show it, or if golden and recent rows together do and the recent ones rule harm out.
    What is not shown is not settled; only harm that the recent rows show fails.
    """
    rows, recent, policy = evidence.golden, evidence.feedback, evidence.policy
    level = attempt_level(policy.alpha, evidence.attempt)
    if recent is None or not recent.n:
        if rows.n < policy.min_rows:
            finding = f"cannot show a benefit, as {policy.min_rows} rows are needed"
            return _benefit_check(None, rows, finding, level, evidence)
        return _benefit_from(rows, level, evidence)
    if benefit_p_value(recent.swapped()) < policy.alpha:
        return _benefit_check(False, recent, "is worse", level, evidence)
    # 1. The recent rows alone, with half of the level where the others may speak as well.
    speak_together = recent.n >= _rows_to_rule_out(policy.golden_margin, policy)
    alone = _benefit_from(recent, level / 2 if speak_together else level, evidence)
    if alone.passed or not speak_together:
        return alone
    # 2. Golden and recent rows together, where the recent ones rule out that it loses the margin.
    low = difference_bounds(recent, policy.alpha)[0]
    together = _benefit_from(evidence.all_rows, level / 2, evidence)
    return together if together.passed and low > -policy.golden_margin else alone


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
    """Whether a loss of the margin is ruled out, and none beyond the tolerance is shown."""
    margin, tolerance = policy.golden_margin, min(policy.golden_tolerance, policy.golden_margin)
    numbers = numbers | {"margin": margin, "tolerance": tolerance}
    if n < policy.min_rows:
        needed = f"The golden set has {n} rows; {policy.min_rows} are needed to rule out harm."
        return GateCheck(name, None, needed, numbers)
    passed = False if numbers["high"] < -tolerance else True if numbers["low"] > -margin else None
    verb = {True: "is not worse", False: "is worse", None: "may be worse"}[passed]
    limit = f"{against} by more than {format_points(tolerance if passed is False else margin)}".strip()
    return GateCheck(name, passed, f"On {n} golden rows the candidate {verb} {limit}: {change}.", numbers)


def _few_blocks(rows: PairedPredictions) -> str:
    if rows.blocks is None or rows.n_blocks >= FEWEST_BLOCKS:
        return ""
    return f"; they are of {rows.n_blocks} days, and of fewer than {FEWEST_BLOCKS} it is not known how days differ"


def _rows_to_rule_out(margin: float, policy: GatePolicy) -> int:
    """The fewest rows with which Tango's bound can exclude a loss of the margin: both models alike on all of them."""
    quantile = float(special.ndtri(1 - policy.alpha))
    return max(policy.min_rows, math.ceil(quantile**2 * (1 - margin) / margin)) if margin else sys.maxsize


def _benefit_from(rows: PairedPredictions, level: float, evidence: GateEvidence) -> GateCheck:
    """Whether these rows show a benefit at this level; they settle nothing where they do not."""
    least = evidence.policy.min_benefit
    shown = benefit_p_value(rows) < level
    shown = shown and (not least or difference_bounds(rows, level)[0] > least)
    more = f" of more than {format_points(least)}" if least else ""
    finding = f"shows a benefit{more}" if shown else f"shows no benefit{more}"
    if not shown and rows.origin != "golden" and rows.n < evidence.policy.min_rows:
        finding += f", and {rows.n} rows cannot rule out harm"
    return _benefit_check(True if shown else None, rows, finding, level, evidence)


def _benefit_check(
    passed: bool | None, rows: PairedPredictions, finding: str, level: float, evidence: GateEvidence
) -> GateCheck:
    better, worse = benefit_p_value(rows), benefit_p_value(rows.swapped())
    numbers = difference_numbers(rows, evidence.policy.alpha)
    test = "exact McNemar" if rows.is_plain else "Gaffke"
    p_value, needed = (worse, evidence.policy.alpha) if passed is False else (better, level)
    asked = "harm is shown below" if passed is False else f"attempt {evidence.attempt} needs less than"
    detail = (
        f"On {rows.n} {rows.origin} rows the candidate {finding}: {format_change(rows, numbers)}, "
        f"{test} p = {p_value:.2g}; {asked} {needed:.2g}."
    )
    return GateCheck("benefit", passed, detail, numbers | {"p_better": better, "p_worse": worse, "level": level})


def _unpaired_difference(rows: PairedPredictions, record: BestVersion, alpha: float) -> dict[str, float]:
    correct = int(rows.candidate_correct.sum())
    shares = [share_with_bounds(correct, rows.n, alpha), share_with_bounds(record.correct, record.total, alpha)]
    low, high = square_and_add(shares[0], shares[1])
    return {"rows": float(rows.n), "difference": shares[0][0] - shares[1][0], "low": low, "high": high}
