"""An answer survives being bytes."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.record_format import decode_prediction, encode_prediction
from pipelines.data import content_hash, image_row
from pipelines.image.grey_png import decode_png
from pipelines.input_row import InputRow
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


def test_a_picture_is_written_as_the_version_before_did_and_a_table_row_with_its_form() -> None:
    written = encode_prediction(PredictionWithInput(prediction().prediction, image_row(picture(3)), "host class"))
    assert b'"host_class":"host class","shape":[28,28]}' in written
    row = InputRow("row:0123456789abcdef", b'[41.0,null,"gold"]')
    prediction_of_row = replace(prediction().prediction, image_hash="", reference="order-7")
    back = decode_prediction(encode_prediction(PredictionWithInput(prediction_of_row, row)))
    assert (back.input, back.packed_input) == (row, row.content)
    assert (back.prediction.image_hash, back.prediction.reference) == (row.content_hash, "order-7")


def test_a_payload_of_the_version_before_has_no_reference() -> None:
    made = prediction().prediction
    written = encode_prediction(PredictionWithInput(made, image_row(picture(3))))
    length = int.from_bytes(written[:4], "little")
    header = orjson.loads(written[4 : 4 + length])
    del header["row"]["reference"]
    text = orjson.dumps(header)
    back = decode_prediction(len(text).to_bytes(4, "little") + text + written[4 + length :])
    assert (back.prediction, back.input) == (made, image_row(picture(3)))
