"""Says what a retraining did with the labels there were: numbers for its verdict, and a sentence for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipelines.labels.label_curation import ExcludedLabel

EXPLAINED_SHARE: Final = 0.05
"""A reason is explained where it took this share of all labels; it is counted anyway."""
STARVED_SHARE: Final = 0.5
REMEDIES: Final[Mapping[str, str]] = {
    "conflict": "people who gave them contradict each other; a label-review task asks for a verdict",
    "suspicious": "champion and probe contradict them; a label-review task asks for a verdict",
    "near-duplicate of a held image": "they look like golden, validation or gate pictures",
    "near-duplicate of a training image": "they look like pictures that train",
    "known image": "the file, or another label that trains, holds these inputs",
    "repeated": "another label of the same picture says the same",
    "overruled": "a review says otherwise",
    "before the change": "they show the world before it changed",
    "of a judged day": "golden rows of their days judge",
    "of a judged group": "their groups, such as customers, judge or tune, or other labels of their inputs do",
    "not mature": "they, or others of their subjects, are held back to judge once their answers are mature",
    "unusable": "the model has lost that class, or takes pictures of another size",
}


def label_usage(
    label_count: int, trained_count: int, evaluated_count: int, excluded: Sequence[ExcludedLabel]
) -> dict[str, Any] | None:
    """What became of so many labels, as the verdict records it; None where there were none."""
    if not label_count:
        return None
    counts = Counter(label.reason for label in excluded)
    reasons = {str(reason): n for reason, n in counts.most_common()}
    explained = [
        f"{n:,} {reason}{_reason_hint(reason, excluded) if n >= EXPLAINED_SHARE * label_count else ''}"
        for reason, n in reasons.items()
    ]
    sentence = f"It learnt from {trained_count:,} of {label_count:,} labels and was judged on {evaluated_count:,}."
    sentence += f" Set aside: {'; '.join(explained)}." if explained else ""
    return {
        "given": label_count,
        "trained": trained_count,
        "judged": evaluated_count,
        "set_aside": reasons,
        "sentence": sentence,
    }


def usage_sentence(verdict: Mapping[str, Any] | None) -> str:
    """The sentence in a verdict; empty where it has none."""
    labels = (verdict or {}).get("labels") or {}
    return str(labels.get("sentence", ""))


def is_quota_starved(verdict: Mapping[str, Any] | None) -> bool:
    """Whether quotas excluded most labels that there were."""
    labels = (verdict or {}).get("labels") or {}
    return bool(labels) and labels["set_aside"].get("over quota", 0) >= STARVED_SHARE * labels["given"]


def _reason_hint(reason: str, excluded: Sequence[ExcludedLabel]) -> str:
    """Why, and what to do; for quotas the provider that lost most."""
    if reason == "over quota":
        details = Counter(label.detail for label in excluded if label.reason == reason)
        return f" ({details.most_common(1)[0][0]})"
    return f" ({REMEDIES[reason]})"
