"""The checks that block a candidate for what it harms or costs: groups, calibration, robustness, latency, size."""

import numpy as np

from registry.calibration_metrics import calibration_error
from registry.gate.bounded_mean import ratio_bounds
from registry.gate.checks import GateCheck, difference_numbers, format_points, format_range
from registry.gate.evidence import GateEvidence
from registry.gate.paired_comparison import PairedPredictions, accuracy_bounds, difference_bounds, square_and_add


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
        inside, others = rows.take(tags == name), rows.take((tags != name) & (tags != ""))
        change, surely = _gap_growth(inside, others, evidence.policy.alpha / len(names))
        numbers |= {f"change_{name}": change, f"low_{name}": surely}
        if surely > limit:
            behind.append(f"{name} ({format_points(change, sign=True)}, at least {format_points(surely, sign=True)})")
    detail = f"No group is shown to fall further behind the others by more than {format_points(limit)}."
    if behind:
        detail = f"The gap to the others grows by more than {format_points(limit)} for {', '.join(behind)}."
    return GateCheck("groups", not behind, detail, numbers | {"limit": limit})


def check_calibration(evidence: GateEvidence) -> GateCheck | None:
    """Whether the candidate's confidence is not shown to deserve less trust than the champion's.

    Decided by the Brier score of the given answer, a proper score of which each row has its own, so that rows stay
    paired, and by Gaffke's bounds, since a few large losses among many small gains deceive Student's. The calibration
    error is told beside it, for it has no unbiased bounds (Kumar et al., NeurIPS 2019).
    """
    sure, rows, policy = evidence.confidence, evidence.golden, evidence.policy
    if sure is None:
        return None
    before, after = (sure.champion - rows.champion_correct) ** 2, (sure.candidate - rows.candidate_correct) ** 2
    low, high = ratio_bounds(after - before, np.ones(rows.n), (-1.0, 1.0), policy.alpha)
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
    losing, texts = [], []
    tests = len(parts) + (len(evidence.strong) if policy.strong_loss_max < 1 else 0)
    for name, rows in parts:
        bounds = difference_numbers(rows, policy.alpha / tests)
        numbers |= {f"{key}_{name}": bounds[key] for key in ("difference", "low", "high")}
        text = f"{name} {format_points(rows.accuracy_difference, sign=True)}"
        texts.append(text)
        if bounds["high"] < -limit:
            losing.append(f"{text} {format_range(bounds)}")
    allowed = format_points(limit)
    if policy.strong_loss_max < 1:
        allowed += f" ({format_points(policy.strong_loss_max)} under strong ones)"
        losing += [text for text, high in _strong_disturbances(evidence, tests) if high < -policy.strong_loss_max]
    detail = f"No disturbance is shown to cost more than {allowed}: {', '.join(texts)}."
    if losing:
        detail = f"The candidate loses more than {allowed} under {', '.join(losing)}."
    return GateCheck("robustness", not losing, detail, numbers)


def strong_disturbance_warning(evidence: GateEvidence) -> str | None:
    """What a strong disturbance is shown to cost the candidate, in words; None where nothing is shown."""
    lost = [text for text, high in _strong_disturbances(evidence, len(evidence.strong)) if high < 0]
    if not lost:
        return None
    return f"Warning: under strong disturbances the candidate reads worse than the champion: {', '.join(lost)}."


def check_latency(evidence: GateEvidence) -> GateCheck:
    """Whether it answers within a multiple of the champion's time, or fast enough whatever that is."""
    policy, spent = evidence.policy, evidence.candidate_latency_p95_ms
    ratio = check_ratio("latency", "p95 latency", spent / evidence.champion_latency_p95_ms, policy.latency_ratio_max)
    if ratio.passed or spent > policy.latency_floor_ms:
        return ratio
    detail = f"{ratio.detail} It is {spent:.2g} ms, and up to {policy.latency_floor_ms:g} ms are fast enough."
    return GateCheck(ratio.name, True, detail, {**ratio.numbers, "ms": spent, "floor_ms": policy.latency_floor_ms})


def check_ratio(name: str, title: str, value: float, limit: float) -> GateCheck:
    """Whether a cost stays within a multiple of the champion's."""
    detail = f"The candidate's {title} is {value:.2f} times the champion's; the limit is {limit:g}."
    return GateCheck(name, value <= limit, detail, {"ratio": value, "limit": limit})


def _strong_disturbances(evidence: GateEvidence, tests: int) -> list[tuple[str, float]]:
    """Each strong disturbance with what it changes and the upper limit of that, the gravest first."""
    disturbances = []
    for name, rows in evidence.strong.items():
        numbers = difference_numbers(rows, evidence.policy.alpha / tests)
        text = f"{name} {format_points(rows.accuracy_difference, sign=True)} {format_range(numbers)}"
        disturbances.append((rows.accuracy_difference, text, numbers["high"]))
    return [(text, high) for _, text, high in sorted(disturbances)]


def _gap_growth(inside: PairedPredictions, others: PairedPredictions, alpha: float) -> tuple[float, float]:
    """How much the gap changed, and the bound that its growth surely exceeds."""
    changes = [(part.accuracy_difference, *difference_bounds(part, alpha)) for part in (others, inside)]
    shares = [accuracy_bounds(part, part.candidate_correct, alpha) for part in (others, inside)]
    return changes[0][0] - changes[1][0], min(square_and_add(*changes)[0], square_and_add(*shares)[0])


def _mean_or_zero(values: "np.ndarray[tuple[int, ...], np.dtype[np.floating]]") -> float:
    return float(values.mean()) if len(values) else 0.0
