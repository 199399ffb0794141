"""Which images a version got right."""

import numpy as np
import pytest

from registry.errors import GateError
from registry.gate.row_outcomes import GateRows, Marks


def test_marks_survive_being_stored() -> None:
    golden = Marks.of("digest", ("a", "b", "c"), np.array([True, False, True]))
    assert (golden.right, golden.bits.tolist()) == ("101", [1, 0, 1])
    for rows in (GateRows(golden, None), GateRows(golden, Marks("other", ("d",), "0"))):
        assert GateRows.from_json(rows.to_json()) == rows


@pytest.mark.parametrize("right", ["1", "12"])
def test_a_mark_is_given_for_each_image(right: str) -> None:
    with pytest.raises(GateError, match="for 2 images"):
        Marks("digest", ("a", "b"), right)


@pytest.mark.parametrize("text", ["", "[]", '{"golden": {}}', '{"golden": null, "recent": null}'])
def test_text_without_marks_is_refused(text: str) -> None:
    with pytest.raises(GateError, match=r"GateRows\.to_json"):
        GateRows.from_json(text)
