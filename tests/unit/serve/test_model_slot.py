"""One model at a time, taken whole."""

import pytest

from mlplatform.errors import ModelUnavailableError
from mlplatform.serve.inference.model_slot import ModelSlot
from tests.support.api_server import loaded


def test_an_empty_holder_says_how_to_get_a_first_model() -> None:
    holder = ModelSlot()
    assert holder.current is None
    with pytest.raises(ModelUnavailableError, match="platform train"):
        holder.get()


def test_a_swap_changes_what_is_taken_next_and_not_what_was_taken() -> None:
    holder, first, second = ModelSlot(), loaded(1), loaded(2)
    holder.swap(first)
    taken = holder.get()
    holder.swap(second)
    assert taken is first
    assert holder.get() is holder.current is second
