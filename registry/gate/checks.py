"""The questions of the gate, one function each, from evidence to a finding; it draws no conclusion from them.

Two kinds of check. Golden, best and benefit must *show* that the candidate is good enough: what is not shown does not
pass. As every one of them must pass, a candidate that truly fails one is let through with a chance of at most its own
alpha, however many others there are (an intersection-union test: Berger, Technometrics 24, 1982), so none is corrected.
Groups, calibration and robustness only block where harm is *shown*: more of them never promote a bad candidate, they
block a blameless one with a chance of at most alpha each. Within one check, several classes (Holm), groups or
disturbances (Bonferroni) share that alpha. The best version is the luckiest of several on these rows, which makes its
check stricter than its margin says, never laxer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from registry.calibration_metrics import calibration_error
from registry.gate.evidence import BestVersion, GateEvidence, GatePolicy
from registry.gate.paired_comparison import (
    PairedPredictions,
    difference_bounds,
    exact_bounds,
    holm,
    mcnemar_exact,
    mean_bounds,
    square_and_add,
)


@dataclass(frozen=True)
class GateCheck:
    """One question of the gate: passed, failed, or (None) not settled by these rows."""

    name: str
    passed: bool | None
    detail: str
    numbers: Mapping[str, float] = field(default_factory=dict)


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
    numbers = _difference_numbers(rows, policy.alpha)
    return _non_inferiority("golden", rows.n, numbers, policy, _change_text(rows, numbers))


def check_best_version(evidence: GateEvidence) -> GateCheck | None:
    """Whether it is surely not worse than the best there ever was, so that margins do not add up over promotions."""
    record, rows, policy = evidence.best, evidence.golden, evidence.policy
    if record is None:
        return None
    against = f"than version {record.version}, the best champion so far,"
    if record.right is None:
        numbers = _unpaired_difference(rows, record, policy.alpha)
        change = f"{_points(numbers['difference'], sign=True)} {_range_text(numbers)}, from its counts alone"
    else:
        rows = PairedPredictions(
            np.ones(rows.n, np.int64), record.right, rows.candidate_correct.astype(np.int64), "golden"
        )
        numbers = _difference_numbers(rows, policy.alpha)
        change = _change_text(rows, numbers)
    return _non_inferiority("best", rows.n, numbers, policy, change, against)


def check_benefit(evidence: GateEvidence) -> GateCheck:
    """Whether the candidate is surely better where the world moved, by the least benefit at least."""
    rows, policy = _benefit_rows(evidence), evidence.policy
    recent = rows if evidence.feedback is None or not evidence.feedback.n else evidence.feedback
    better, worse = mcnemar_exact(rows.losses, rows.gains), mcnemar_exact(recent.gains, recent.losses)
    numbers = _difference_numbers(rows, policy.alpha)
    more = f" of more than {_points(policy.min_benefit)}" if policy.min_benefit else ""
    passed: bool | None = worse >= policy.alpha and better < policy.alpha and numbers["low"] > policy.min_benefit
    finding = f"shows a benefit{more}" if passed else f"shows no benefit{more}"
    told, p_value = rows, better
    if worse < policy.alpha:
        finding, told, p_value = "is worse", recent, worse
    elif rows.n < policy.min_rows:
        passed, finding = None, f"cannot show a benefit, as {policy.min_rows} rows are needed"
    detail = (
        f"On {told.n} {told.origin} rows the candidate {finding}: "
        f"{_change_text(told, _difference_numbers(told, policy.alpha))}, "
        f"exact McNemar p = {p_value:.2g}."
    )
    return GateCheck("benefit", passed, detail, numbers | {"p_better": better, "p_worse": worse})


def check_classes(evidence: GateEvidence) -> GateCheck:
    """Whether no class is given up."""
    rows, policy = evidence.all_rows, evidence.policy
    parts = [(name, rows.of_class(label)) for label, name in enumerate(evidence.classes)]
    parts = [(name, part) for name, part in parts if part.n]
    harmed = holm([mcnemar_exact(part.gains, part.losses) for _, part in parts], policy.alpha)
    losing = [
        (f"{name} ({_points(-part.accuracy_difference)} of {part.n} rows)", proven)
        for (name, part), proven in zip(parts, harmed, strict=True)
        if -part.accuracy_difference > policy.class_margin
    ]
    given_up = [text for text, proven in losing if proven]
    in_doubt = [text for text, proven in losing if not proven]
    numbers = {f"difference_{name}": part.accuracy_difference for name, part in parts}
    limit = _points(policy.class_margin)
    detail = f"No class is shown to lose more than {limit}."
    if given_up:
        detail = f"The candidate loses more than {limit} on {', '.join(given_up)}."
    elif in_doubt:
        detail = f"The candidate may lose more than {limit} on {', '.join(in_doubt)}; these rows cannot settle it."
    return GateCheck("classes", False if given_up else None if in_doubt else True, detail, numbers)


def check_groups(evidence: GateEvidence) -> GateCheck | None:
    """Whether no tagged group is shown to fall further behind the others than the limit allows.

    The gap is the others' accuracy minus the group's, 0 where the group leads. Its growth is the smaller of the gap
    now and its change, so both must be shown to exceed the limit; the change keeps the rows paired.
    """
    tags = np.array(evidence.groups, dtype=np.str_)
    names = sorted(set(tags[tags != ""].tolist()))
    if len(names) < 2:
        return None
    rows, limit = evidence.all_rows, evidence.policy.group_margin
    numbers: dict[str, float] = {}
    behind = []
    for name in names:
        inside, others = rows.where(tags == name), rows.where((tags != name) & (tags != ""))
        change, surely = _gap_growth(inside, others, evidence.policy.alpha / len(names))
        numbers |= {f"change_{name}": change, f"low_{name}": surely}
        if surely > limit:
            behind.append(f"{name} ({_points(change, sign=True)}, at least {_points(surely, sign=True)})")
    detail = f"No group is shown to fall further behind the others by more than {_points(limit)}."
    if behind:
        detail = f"The gap to the others grows by more than {_points(limit)} for {', '.join(behind)}."
    return GateCheck("groups", not behind, detail, numbers | {"limit": limit})


def check_calibration(evidence: GateEvidence) -> GateCheck | None:
    """Whether the candidate's confidence is not shown to deserve less trust than the champion's.

    Decided by the Brier score of the given answer, a proper score of which each row has its own, so that rows stay
    paired; the calibration error is told beside it, for it has no unbiased bounds (Kumar et al., NeurIPS 2019).
    """
    sure, rows, policy = evidence.confidence, evidence.golden, evidence.policy
    if sure is None:
        return None
    before, after = (sure.champion - rows.champion_correct) ** 2, (sure.candidate - rows.candidate_correct) ** 2
    low, high = mean_bounds(after - before, policy.alpha)
    harmed, limit = low > policy.calibration_margin, policy.calibration_margin
    numbers = {
        "brier_champion": _mean_or_zero(before),
        "brier_candidate": _mean_or_zero(after),
        "low": low,
        "high": high,
        "limit": limit,
        "error_champion": calibration_error(sure.champion, rows.champion_correct),
        "error_candidate": calibration_error(sure.candidate, rows.candidate_correct),
    }
    verb = "is less calibrated by" if harmed else "is not shown to be less calibrated by"
    detail = (
        f"The candidate {verb} more than {limit:g}: Brier score {numbers['brier_candidate']:.3f} after "
        f"{numbers['brier_champion']:.3f} ({low:+.3f} to {high:+.3f}), calibration error "
        f"{numbers['error_candidate']:.3f} after {numbers['error_champion']:.3f}."
    )
    return GateCheck("calibration", not harmed, detail, numbers)


def check_robustness(evidence: GateEvidence) -> GateCheck | None:
    """Whether no disturbance of the golden rows is shown to cost the candidate more than the limit."""
    policy, parts = evidence.policy, sorted(evidence.robustness.items())
    if not parts:
        return None
    limit = policy.robustness_margin
    numbers: dict[str, float] = {"limit": limit}
    losing, seen = [], []
    tests = len(parts) + (len(evidence.strong) if policy.strong_loss_max < 1 else 0)
    for name, rows in parts:
        found = _difference_numbers(rows, policy.alpha / tests)
        numbers |= {f"{key}_{name}": found[key] for key in ("difference", "low", "high")}
        text = f"{name} {_points(rows.accuracy_difference, sign=True)}"
        seen.append(text)
        if found["high"] < -limit:
            losing.append(f"{text} {_range_text(found)}")
    allowed = _points(limit)
    if policy.strong_loss_max < 1:
        allowed += f" ({_points(policy.strong_loss_max)} under strong ones)"
        losing += [text for text, high in _strong_disturbances(evidence, tests) if high < -policy.strong_loss_max]
    detail = f"No disturbance is shown to cost more than {allowed}: {', '.join(seen)}."
    if losing:
        detail = f"The candidate loses more than {allowed} under {', '.join(losing)}."
    return GateCheck("robustness", not losing, detail, numbers)


def strong_disturbance_warning(evidence: GateEvidence) -> str | None:
    """What a strong disturbance is shown to cost the candidate, in words; None where nothing is shown."""
    lost = [text for text, high in _strong_disturbances(evidence, len(evidence.strong)) if high < 0]
    if not lost:
        return None
    return f"Warning: under strong disturbances the candidate reads worse than the champion: {', '.join(lost)}."


def _strong_disturbances(evidence: GateEvidence, tests: int) -> list[tuple[str, float]]:
    """Each strong disturbance with what it changes and the upper limit of that, the gravest first."""
    found = []
    for name, rows in evidence.strong.items():
        numbers = _difference_numbers(rows, evidence.policy.alpha / tests)
        text = f"{name} {_points(rows.accuracy_difference, sign=True)} {_range_text(numbers)}"
        found.append((rows.accuracy_difference, text, numbers["high"]))
    return [(text, high) for _, text, high in sorted(found)]


def check_latency(evidence: GateEvidence) -> GateCheck:
    """Whether it answers within a multiple of the champion's time, or fast enough whatever that is."""
    policy, spent = evidence.policy, evidence.candidate_latency_p95_ms
    asked = check_ratio("latency", "p95 latency", spent / evidence.champion_latency_p95_ms, policy.latency_ratio_max)
    if asked.passed or spent > policy.latency_floor_ms:
        return asked
    detail = f"{asked.detail} It is {spent:.2g} ms, and up to {policy.latency_floor_ms:g} ms are fast enough."
    return GateCheck(asked.name, True, detail, {**asked.numbers, "ms": spent, "floor_ms": policy.latency_floor_ms})


def check_ratio(name: str, title: str, value: float, limit: float) -> GateCheck:
    """Whether a cost stays within a multiple of the champion's."""
    detail = f"The candidate's {title} is {value:.2f} times the champion's; the limit is {limit:g}."
    return GateCheck(name, value <= limit, detail, {"ratio": value, "limit": limit})


def check_first_version(correct: int, total: int, floor: float, alpha: float) -> GateCheck:
    """Whether the golden accuracy of a first version surely reaches the floor."""
    low, high = exact_bounds(correct, total, alpha)
    passed = True if low >= floor else False if high < floor else None
    share = correct / total if total else 0.0
    detail = (
        f"Golden accuracy is {_percent(share)} on {total} rows, at least {_percent(low)} with "
        f"{_percent(1 - alpha, 0)} confidence; a first version needs {_percent(floor)}."
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
    limit = f"{against} by more than {_points(margin)}".strip()
    return GateCheck(name, passed, f"On {n} golden rows the candidate {verb} {limit}: {change}.", numbers)


def _benefit_rows(evidence: GateEvidence) -> PairedPredictions:
    feedback = evidence.feedback
    if feedback is not None and feedback.n >= evidence.policy.min_rows:
        return feedback
    return evidence.all_rows if feedback is not None and feedback.n else evidence.golden


def _unpaired_difference(rows: PairedPredictions, record: BestVersion, alpha: float) -> dict[str, float]:
    correct = int(rows.candidate_correct.sum())
    shares = [_share_with_bounds(correct, rows.n, alpha), _share_with_bounds(record.correct, record.total, alpha)]
    low, high = square_and_add(shares[0], shares[1])
    return {"rows": float(rows.n), "difference": shares[0][0] - shares[1][0], "low": low, "high": high}


def _gap_growth(inside: PairedPredictions, others: PairedPredictions, alpha: float) -> tuple[float, float]:
    """How much the gap changed, and the bound that its growth surely exceeds."""
    changes = [(part.accuracy_difference, *difference_bounds(part, alpha)) for part in (others, inside)]
    shares = [_share_with_bounds(int(part.candidate_correct.sum()), part.n, alpha) for part in (others, inside)]
    return changes[0][0] - changes[1][0], min(square_and_add(*changes)[0], square_and_add(*shares)[0])


def _share_with_bounds(correct: int, total: int, alpha: float) -> tuple[float, float, float]:
    return (correct / total if total else 0.0, *exact_bounds(correct, total, alpha))


def _mean_or_zero(values: "np.ndarray[tuple[int, ...], np.dtype[np.floating]]") -> float:
    return float(values.mean()) if len(values) else 0.0


def _difference_numbers(rows: PairedPredictions, alpha: float) -> dict[str, float]:
    low, high = difference_bounds(rows, alpha)
    return {
        "rows": float(rows.n),
        "gained": float(rows.gains),
        "lost": float(rows.losses),
        "difference": rows.accuracy_difference,
        "low": low,
        "high": high,
    }


def _change_text(rows: PairedPredictions, numbers: Mapping[str, float]) -> str:
    return (
        f"{rows.gains} rows gained, {rows.losses} lost, "
        f"{_points(rows.accuracy_difference, sign=True)} {_range_text(numbers)}"
    )


def _range_text(numbers: Mapping[str, float]) -> str:
    return f"({_points(numbers['low'], sign=True)} to {_points(numbers['high'], sign=True)})"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _points(share: float, *, sign: bool = False) -> str:
    return f"{round(100 * share, 1) + 0.0:{'+' if sign else ''}.1f} points"
