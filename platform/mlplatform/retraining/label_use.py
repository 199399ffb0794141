"""What a retraining did with the labels there were, in numbers and a sentence for people; it chooses no label."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipelines.labels.label_curation import SetAside

TOLD_FROM: Final = 0.05
"""A reason is explained where it took this share of all labels; it is counted anyway."""
GRAVE_FROM: Final = 0.5
REMEDIES: Final[Mapping[str, str]] = {
    "conflict": "people who gave them contradict each other; a label-review task asks for a verdict",
    "suspicious": "champion and probe contradict them; a label-review task asks for a verdict",
    "near-duplicate of a held image": "they look like golden, validation or gate pictures",
    "near-duplicate of a training image": "they look like pictures that train",
    "known image": "the base data holds these pictures",
    "repeated": "another label of the same picture says the same",
    "overruled": "a review says otherwise",
    "before the change": "they show the world before it changed",
    "unusable": "the model has lost that class, or takes pictures of another size",
}


def use_of(given: int, trained: int, judged: int, aside: Sequence[SetAside]) -> dict[str, Any] | None:
    """What became of so many labels, as a verdict keeps it; None where there were none."""
    if not given:
        return None
    counts = Counter(each.reason for each in aside)
    reasons = {str(reason): n for reason, n in counts.most_common()}
    told = [f"{n:,} {reason}{_why(reason, aside) if n >= TOLD_FROM * given else ''}" for reason, n in reasons.items()]
    sentence = f"It learnt from {trained:,} of {given:,} labels and was judged on {judged:,}."
    sentence += f" Set aside: {'; '.join(told)}." if told else ""
    return {"given": given, "trained": trained, "judged": judged, "set_aside": reasons, "sentence": sentence}


def sentence_of(verdict: Mapping[str, Any] | None) -> str:
    """The sentence in a verdict; empty where it has none."""
    labels = (verdict or {}).get("labels") or {}
    return str(labels.get("sentence", ""))


def starved_by(verdict: Mapping[str, Any] | None) -> bool:
    """Whether quotas set aside most labels that there were."""
    labels = (verdict or {}).get("labels") or {}
    return bool(labels) and labels["set_aside"].get("over quota", 0) >= GRAVE_FROM * labels["given"]


def _why(reason: str, aside: Sequence[SetAside]) -> str:
    """Why, and what to do: for quotas the giver that lost most."""
    if reason == "over quota":
        details = Counter(each.detail for each in aside if each.reason == reason)
        return f" ({details.most_common(1)[0][0]})"
    return f" ({REMEDIES[reason]})"
