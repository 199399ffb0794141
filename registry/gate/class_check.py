"""The check that no class is given up, however many classes there are and however few rows each has.

A loss is proved by Holm's procedure over the classes and over groups of small classes. A loss that is seen and not
proved leaves doubt: in a class of `min_rows` rows always, in a smaller one where luck would show it in fewer than one
of as many classes. Without this distinction a thousand classes of ten rows would always leave some in doubt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from registry.gate.checks import GateCheck, format_points
from registry.gate.evidence import GateEvidence
from registry.gate.paired_comparison import PairedPredictions, benefit_p_value, holm

MAX_NAMES = 5
"""The most classes that a sentence names of a group or of those without rows."""


@dataclass(frozen=True, eq=False)
class _Part:
    """The rows of one class, or of a group of small classes, and how well they agree with no loss."""

    name: str
    rows: PairedPredictions
    labels: tuple[int, ...]
    p_value: float

    @property
    def is_group(self) -> bool:
        """Whether these are the rows of several classes."""
        return len(self.labels) > 1

    @property
    def loss(self) -> float:
        """Champion accuracy minus candidate accuracy."""
        return -self.rows.accuracy_difference

    @property
    def text(self) -> str:
        return f"{self.name} ({format_points(self.loss)} of {self.rows.n} rows)"


def check_classes(evidence: GateEvidence) -> GateCheck:
    """Whether no class is given up."""
    rows, policy, names = evidence.all_rows, evidence.policy, evidence.classes
    classes = [_part(names[label], part, (label,)) for label, part in _rows_by_class(rows)]
    groups = _small_class_groups(rows, [part for part in classes if part.rows.n < policy.min_rows], policy.min_rows)
    parts = [*classes, *groups]
    proved = holm([part.p_value for part in parts], policy.alpha)
    losing = [(part, sure) for part, sure in zip(parts, proved, strict=True) if part.loss > policy.class_margin]
    proved_losses = [part.text for part, sure in losing if sure]
    doubtful_losses = [
        part.text
        for part, sure in losing
        if not (sure or part.is_group) and (part.rows.n >= policy.min_rows or part.p_value * len(parts) <= 1)
    ]
    numbers = {f"difference_{part.name}": -part.loss for part in classes}
    limit = format_points(policy.class_margin)
    if proved_losses:
        detail = f"The candidate is proved to lose, here more than {limit}, on {_listed(proved_losses)}."
    elif doubtful_losses:
        detail = f"The candidate may lose more than {limit} on {_listed(doubtful_losses)}; these rows cannot settle it."
    else:
        detail = f"No class is shown to lose more than {limit}.{_coverage(evidence, classes, groups)}"
    return GateCheck("classes", False if proved_losses else None if doubtful_losses else True, detail, numbers)


def _rows_by_class(rows: PairedPredictions) -> Iterator[tuple[int, PairedPredictions]]:
    """Each class that has rows, with them."""
    order = np.argsort(rows.labels, kind="stable")
    labels, counts = np.unique(rows.labels, return_counts=True)
    ends = np.cumsum(counts)
    for label, count, end in zip(labels.tolist(), counts.tolist(), ends.tolist(), strict=True):
        yield label, rows.take(order[end - count : end])


def _part(name: str, rows: PairedPredictions, labels: tuple[int, ...]) -> _Part:
    return _Part(name, rows, labels, benefit_p_value(rows.swapped()))


def _small_class_groups(rows: PairedPredictions, classes: Sequence[_Part], min_rows: int) -> list[_Part]:
    """Classes joined in the order of their errors until each group has `min_rows` rows; a rest joins the last group.

    The errors of both models count alike, so the order says nothing about which of them is better.
    """
    groups: list[list[_Part]] = []
    for part in sorted(classes, key=lambda each: -_error_share(each.rows)):
        if not groups or sum(each.rows.n for each in groups[-1]) >= min_rows:
            groups.append([])
        groups[-1].append(part)
    if len(groups) > 1 and sum(part.rows.n for part in groups[-1]) < min_rows:
        groups[-2].extend(groups.pop())
    return [_joined(rows, group) for group in groups if len(group) > 1]


def _joined(rows: PairedPredictions, group: Sequence[_Part]) -> _Part:
    labels = tuple(label for part in group for label in part.labels)
    name = f"the {len(group)} small classes {_listed([part.name for part in group])} together"
    return _part(name, rows.take(np.flatnonzero(np.isin(rows.labels, labels))), labels)


def _error_share(rows: PairedPredictions) -> float:
    return float(np.mean(~rows.champion_correct) + np.mean(~rows.candidate_correct))


def _coverage(evidence: GateEvidence, classes: Sequence[_Part], groups: Sequence[_Part]) -> str:
    """What the finding cannot say: which classes had few rows, or none."""
    text = ""
    few, least = sum(part.rows.n < evidence.policy.min_rows for part in classes), evidence.policy.min_rows
    if groups:
        text += f" {few} of {len(classes)} classes have fewer than {least} rows and are judged in groups as well."
    seen = {part.name for part in classes}
    if unseen := [name for name in evidence.classes if name not in seen]:
        text += f" Without rows, and not judged: {_listed(unseen)}."
    return text


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
