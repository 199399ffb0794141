"""Payloads come back from disk whole or not at all."""

import pytest

from mlplatform.recording.spool.record_format import FRAME_HEADER, decode_frames, encode_frames, frame_size, scan_frames

PAYLOADS = [b"a", b"\0" * 50, b"the third one" * 9]


def test_what_was_framed_is_read_back_with_the_offsets_behind_each() -> None:
    data = encode_frames(PAYLOADS)
    found = list(decode_frames(data, 100))
    assert [frame.payload for frame in found] == PAYLOADS
    assert found[-1].end == 100 + len(data)
    assert scan_frames(data) == (3, len(data))
    assert scan_frames(data, found[0].end - 100) == (2, len(data))


@pytest.mark.parametrize("cut", [1, 5, 100, 116])
def test_a_torn_end_is_passed_over_wherever_it_was_torn(cut: int) -> None:
    data = encode_frames(PAYLOADS)
    whole = encode_frames(PAYLOADS[:2])
    assert len(data) - cut > len(whole)
    assert [frame.payload for frame in decode_frames(data[:-cut])] == PAYLOADS[:2]
    assert scan_frames(data[:-cut]) == (2, len(whole))


def test_zeros_of_an_unwritten_block_are_no_rows() -> None:
    data = encode_frames(PAYLOADS) + bytes(4096)
    assert len(list(decode_frames(data))) == 3
    assert scan_frames(data) == (3, len(data) - 4096)


def test_a_damaged_payload_is_known_and_its_neighbours_are_read() -> None:
    data = bytearray(encode_frames(PAYLOADS))
    data[2 * FRAME_HEADER.size + 1 + 7] ^= 1
    assert [frame.payload for frame in decode_frames(bytes(data))] == [PAYLOADS[0], None, PAYLOADS[2]]


def test_nothing_cannot_be_framed() -> None:
    with pytest.raises(ValueError, match="empty"):
        encode_frames([b"a", b""])


def test_the_length_of_a_frame_is_known_from_its_head() -> None:
    data = encode_frames(PAYLOADS[2:])
    assert frame_size(data[:20]) == len(data)
    assert frame_size(data[:7]) == frame_size(bytes(20)) == 0
