"""Says which of a contract's classes each of a fitted model's outputs is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from pipelines.errors import DataError


def class_positions(labels: Sequence[object], names: Sequence[str]) -> list[int]:
    """The position among `names` of each class that the model learnt.

    A model is fitted on names, or on their positions (False and True where there are two). Raises DataError for others.
    """
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    texts = [label for label in plain if isinstance(label, str)]
    if len(texts) == len(plain):
        if unknown := [text for text in texts if text not in names]:
            raise DataError(f"the model learnt the class {unknown[0]!r}, which is none of {', '.join(names)}")
        return [names.index(text) for text in texts]
    written = [label_text(label) for label in plain]
    if all(text in names for text in written) and any(text not in _places(names) for text in written):
        return [names.index(text) for text in written]  # as 1, 2 and 3, which are no positions of three
    whole = [int(label) if isinstance(label, bool | int | float) and int(label) == label else -1 for label in plain]
    numbered = [name.lstrip("-").isdecimal() for name in names]
    if any(numbered) and list(names) != _places(names):
        raise DataError(
            f"the model learnt the numbers {plain}, and classes are named by other numbers ({', '.join(names)}); "
            "fit it on context.y, the names themselves"
        )
    if any(not 0 <= place < len(names) for place in whole):
        raise DataError(
            f"the model learnt the classes {plain}, which are neither names nor positions of {', '.join(names)}; "
            "fit it on context.y, or on context.codes where it takes numbers alone"
        )
    return whole


def _places(names: Sequence[str]) -> list[str]:
    return [str(place) for place in range(len(names))]


def label_text(label: object) -> str:
    """A class as people write it: 1.0 is 1."""
    plain = label.item() if isinstance(label, np.generic) else label
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def class_names(
    labels: Sequence[object], outputs: int, truths: Collection[str], named: Sequence[str] = ()
) -> tuple[str, ...]:
    """The names of a model's classes, in the order of its outputs, from what it learnt and what known truths say.

    `labels` are the classes that it names itself, none where it only numbers its `outputs`. `named` is what its owner
    says. Raises DataError where these do not fit each other.
    """
    own = tuple(label_text(label) for label in labels) or tuple(str(place) for place in range(outputs))
    numbered = list(own) == _places(own)
    if named and set(named) == set(own):
        names = own
    elif named:
        if len(named) != len(own) or not numbered:
            raise DataError(f"--classes names {', '.join(named)}, and the model answers {', '.join(own)}; give those")
        names = tuple(named)
    elif numbered and len(own) == 2 and set(truths) <= {"False", "True"}:
        names = ("False", "True")
    else:
        names = own
    if unknown := sorted(set(truths) - set(names)):
        remedy = (
            f"say which are meant, in the order of its numbers: --classes {','.join(sorted(truths))}"
            if numbered and not named
            else "leave out such rows, or log a model that learnt it"
        )
        raise DataError(
            f"the golden rows have the class {unknown[0]!r}, and the model answers {', '.join(names)}; {remedy}"
        )
    return names
