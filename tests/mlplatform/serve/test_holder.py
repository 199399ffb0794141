"""One model at a time, taken whole."""

import pytest

from mlplatform.errors import ModelUnavailableError
from mlplatform.serve.inference.model_slot import Holder
from tests.mlplatform.serve.conftest import loaded


def test_an_empty_holder_says_how_to_get_a_first_model() -> None:
    holder = Holder()
    assert holder.loaded is None
    with pytest.raises(ModelUnavailableError, match="platform train"):
        holder.take()


def test_a_swap_changes_what_is_taken_next_and_not_what_was_taken() -> None:
    holder, first, second = Holder(), loaded(1), loaded(2)
    holder.put(first)
    taken = holder.take()
    holder.put(second)
    assert taken is first
    assert holder.take() is holder.loaded is second
