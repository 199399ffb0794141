"""Payloads come back from disk whole or not at all."""

import pytest

from mlplatform.recording.spool.framing import HEAD, framed, frames, measured, needed

PAYLOADS = [b"a", b"\0" * 50, b"the third one" * 9]


def test_what_was_framed_is_read_back_with_the_offsets_behind_each() -> None:
    data = framed(PAYLOADS)
    found = list(frames(data, 100))
    assert [frame.payload for frame in found] == PAYLOADS
    assert found[-1].end == 100 + len(data)
    assert measured(data) == (3, len(data))
    assert measured(data, found[0].end - 100) == (2, len(data))


@pytest.mark.parametrize("cut", [1, 5, 100, 116])
def test_a_torn_end_is_passed_over_wherever_it_was_torn(cut: int) -> None:
    data = framed(PAYLOADS)
    whole = framed(PAYLOADS[:2])
    assert len(data) - cut > len(whole)
    assert [frame.payload for frame in frames(data[:-cut])] == PAYLOADS[:2]
    assert measured(data[:-cut]) == (2, len(whole))


def test_zeros_of_an_unwritten_block_are_no_rows() -> None:
    data = framed(PAYLOADS) + bytes(4096)
    assert len(list(frames(data))) == 3
    assert measured(data) == (3, len(data) - 4096)


def test_a_damaged_payload_is_known_and_its_neighbours_are_read() -> None:
    data = bytearray(framed(PAYLOADS))
    data[2 * HEAD.size + 1 + 7] ^= 1
    assert [frame.payload for frame in frames(bytes(data))] == [PAYLOADS[0], None, PAYLOADS[2]]


def test_nothing_cannot_be_framed() -> None:
    with pytest.raises(ValueError, match="empty"):
        framed([b"a", b""])


def test_the_length_of_a_frame_is_known_from_its_head() -> None:
    data = framed(PAYLOADS[2:])
    assert needed(data[:20]) == len(data)
    assert needed(data[:7]) == needed(bytes(20)) == 0
