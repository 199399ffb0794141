"""An answer survives being bytes."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.record_format import decode_prediction, encode_prediction
from pipelines.data import content_hash, image_row
from pipelines.image.grey_png import decode_png
from tests.support.platform_world import picture, prediction


def test_an_answer_comes_back_as_it_was() -> None:
    row = replace(
        prediction().prediction,
        at=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
        confidence=0.1 + 0.2,
        latency_ms=1 / 3,
        client_id="Zoë\n\0",
        tags={"scanner": "a"},
    )
    back = decode_prediction(encode_prediction(PredictionWithInput(row, image_row(picture(3)), "host class")))
    assert (back.prediction, back.host_class) == (row, "host class")
    assert back.input == image_row(picture(3))


def test_a_picture_that_does_not_lie_in_one_piece_comes_back() -> None:
    image = picture(5)[::2, ::3]
    back = decode_prediction(encode_prediction(PredictionWithInput(prediction().prediction, image_row(image))))
    assert np.array_equal(decode_png(back.packed_input), image)


def test_other_bytes_are_refused() -> None:
    whole = encode_prediction(PredictionWithInput(prediction().prediction, image_row(picture(0))))
    for other in (b"", b"\1\0\0\0{", whole[:-1], whole + b"\0"):
        with pytest.raises((ValueError, KeyError, TypeError)):
            decode_prediction(other)


def test_a_picture_that_was_not_hashed_is_when_its_answer_is_read() -> None:
    row = replace(prediction().prediction, image_hash="")
    assert decode_prediction(
        encode_prediction(PredictionWithInput(row, image_row(picture(3))))
    ).prediction.image_hash == content_hash(picture(3))
