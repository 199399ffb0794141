"""What every input codec must hold: subclass, and say what inputs are drawn from.

class TestOfSomething(InputCodecContract):
    def codec(self) -> InputCodec:
        return SomethingCodec()

    def drawn(self, count: int) -> Batch:
        return ...

    def pack(self, row: InputRow) -> bytes:
        return ...
"""

from hashlib import sha256

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.input_row import InputRow
from pipelines.inputs.input_codec import InputCodec


class InputCodecContract:
    """The tests that each codec passes."""

    def codec(self) -> InputCodec:
        """The codec."""
        raise NotImplementedError

    def drawn(self, count: int) -> Batch:
        """So many inputs that differ."""
        raise NotImplementedError

    def pack(self, row: InputRow) -> bytes:
        """What the database keeps of a row."""
        raise NotImplementedError

    def test_a_row_has_one_identity_alone_and_among_others(self) -> None:
        batch, codec = self.drawn(5), self.codec()
        together = [row.content_hash for row in codec.rows(batch)]
        assert together == [codec.rows(batch[place : place + 1])[0].content_hash for place in range(5)]
        assert len(set(together)) == 5
        assert {codec.form_mismatch(row.form) for row in codec.rows(batch)} == {None}
        assert codec.form_mismatch("row:of other columns") is not None
        for row in codec.rows(batch):
            row.check()

    def test_what_is_kept_comes_back_with_its_identity_in_the_order_asked_for(self) -> None:
        codec = self.codec()
        rows = codec.rows(self.drawn(4))[::-1]
        assert codec.rows(codec.unpack([self.pack(row) for row in rows])) == rows

    def test_blank_inputs_have_its_form(self) -> None:
        codec = self.codec()
        assert [row.form for row in codec.rows(codec.blank(2))] == [codec.form] * 2

    @pytest.mark.parametrize("count", [0, 1, 6])
    def test_everything_that_is_measured_has_one_value_for_each_row(self, count: int) -> None:
        batch, codec = self.drawn(6)[:count], self.codec()
        assert {len(values) for values in codec.measures(batch).values()} == {count}
        if count:
            assert len(codec.fingerprints(batch)) == count

    def test_a_copy_is_a_near_duplicate_and_another_input_is_none(self) -> None:
        codec, batch = self.codec(), self.drawn(6)
        assert codec.near_duplicates(batch, batch[2:3]).tolist() == [place == 2 for place in range(6)]
        assert not codec.near_duplicates(batch, batch[:0]).any()
        again = batch.take([0, 1, 0, 2, 1])
        assert np.array_equal(codec.first_occurrences(again), [0, 1, 0, 3, 1])


def identity(row: InputRow) -> str:
    """The content hash, written down a second time: it must never change."""
    return sha256(row.form.encode() + row.content).hexdigest()
