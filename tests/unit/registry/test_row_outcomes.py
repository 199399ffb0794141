"""Which images a version got right."""

import numpy as np
import pytest

from registry.errors import GateError
from registry.gate.row_outcomes import GateRowOutcomes, RowOutcomes


def test_marks_survive_being_stored() -> None:
    golden = RowOutcomes.from_mask("digest", ("a", "b", "c"), np.array([True, False, True]))
    assert (golden.right, golden.as_array.tolist()) == ("101", [1, 0, 1])
    for rows in (GateRowOutcomes(golden, None), GateRowOutcomes(golden, RowOutcomes("other", ("d",), "0"))):
        assert GateRowOutcomes.from_json(rows.to_json()) == rows


@pytest.mark.parametrize("right", ["1", "12"])
def test_a_mark_is_given_for_each_image(right: str) -> None:
    with pytest.raises(GateError, match="for 2 images"):
        RowOutcomes("digest", ("a", "b"), right)


@pytest.mark.parametrize("text", ["", "[]", '{"golden": {}}', '{"golden": null, "recent": null}'])
def test_text_without_marks_is_refused(text: str) -> None:
    with pytest.raises(GateError, match=r"GateRowOutcomes\.to_json"):
        GateRowOutcomes.from_json(text)
