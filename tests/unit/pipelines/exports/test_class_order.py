"""A fitted model's classes are found by name or by position, and anything else is refused with what to do."""

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.exports.class_order import class_names, class_positions

NAMES = ("no", "maybe", "yes")


@pytest.mark.parametrize(
    ("labels", "names", "positions"),
    [
        (["maybe", "no", "yes"], NAMES, [1, 0, 2]),
        (np.array(["no", "yes"], dtype=object), NAMES, [0, 2]),
        (np.array([0, 2]), NAMES, [0, 2]),
        (np.array([False, True]), ("no", "yes"), [0, 1]),
        (np.array([0.0, 1.0]), ("no", "yes"), [0, 1]),
        (np.array([0, 1, 2]), ("0", "1", "2"), [0, 1, 2]),
        (np.array(["1", "0"]), ("0", "1"), [1, 0]),
        (np.array([1, 2, 3]), ("1", "2", "3"), [0, 1, 2]),
        (np.array([2.0, 7.0]), ("7", "2"), [1, 0]),
    ],
)
def test_names_and_positions_are_found(labels: list[object], names: tuple[str, ...], positions: list[int]) -> None:
    assert class_positions(labels, names) == positions


@pytest.mark.parametrize(
    ("labels", "names", "reason"),
    [
        (["no", "perhaps"], NAMES, "learnt the class 'perhaps', which is none of no, maybe, yes"),
        (np.array([1, 2, 3]), NAMES, "neither names nor positions"),
        (np.array([0.5, 1.0]), NAMES, "neither names nor positions"),
        (np.array([0, 1]), ("1", "0"), "named by other numbers"),
    ],
)
def test_other_classes_are_refused(labels: list[object], names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        class_positions(labels, names)


@pytest.mark.parametrize(
    ("labels", "outputs", "truths", "named", "names"),
    [
        (["no", "yes"], 0, ["no", "yes"], (), ("no", "yes")),
        (["no", "yes"], 0, ["yes"], ("yes", "no"), ("no", "yes")),
        (np.array([0, 1]), 0, ["0", "1"], (), ("0", "1")),
        (np.array([0, 1]), 0, ["no", "yes"], ("no", "yes"), ("no", "yes")),
        (np.array([0, 1]), 0, ["False", "True"], (), ("False", "True")),
        ([], 2, ["False", "True"], (), ("False", "True")),
        ([], 3, ["0", "2"], (), ("0", "1", "2")),
        (np.array([1.0, 2.0]), 0, ["1", "2"], (), ("1", "2")),
    ],
)
def test_classes_are_named(
    labels: list[object], outputs: int, truths: list[str], named: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert class_names(labels, outputs, truths, named) == names


@pytest.mark.parametrize(
    ("labels", "outputs", "truths", "named", "reason"),
    [
        (np.array([0, 1]), 0, ["no", "yes"], (), "class 'no', and the model answers 0, 1; .*--classes no,yes"),
        (["no", "yes"], 0, ["perhaps"], (), "class 'perhaps', and the model answers no, yes; leave out such rows"),
        (["no", "yes"], 0, ["a"], ("a", "b"), "--classes names a, b, and the model answers no, yes"),
        ([], 3, ["a"], ("a", "b"), "--classes names a, b, and the model answers 0, 1, 2"),
    ],
)
def test_classes_that_do_not_fit_are_refused(
    labels: list[object], outputs: int, truths: list[str], named: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        class_names(labels, outputs, truths, named)
