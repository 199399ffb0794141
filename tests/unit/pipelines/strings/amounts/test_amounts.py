"""The pipeline of amounts: canvases, the engine that reads them, rows that train, and the network read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import TextReader
from pipelines.builtin.strings import PIPELINE
from pipelines.data import image_batch, images_of
from pipelines.engines.inference_engine import EngineConfig
from pipelines.errors import ModelFormatError
from pipelines.image.image_decoding import decode_image, parse_header
from pipelines.loading import load_engine
from pipelines.strings.amounts.amount_engine import AmountEngine, load_amount_engine
from pipelines.strings.amounts.amount_evaluation import DISTURBANCES, disturbed
from pipelines.strings.amounts.amount_examples import TASK, load_amounts, scanned_rows, written_rows
from pipelines.strings.amounts.canvas import HEIGHT, WIDTH, from_canvas, to_canvas
from pipelines.strings.drawing.training_batches import IGNORED, TrainingStrings, padded
from pipelines.strings.string_engine import BUNDLED_MODEL, load_string_engine
from pipelines.strings.string_examples import load_string_folder
from pipelines.strings.string_export import export_strings
from pipelines.strings.string_import import network_from_graph
from registry.model_contract import ImageInputs, ModelContract
from registry.model_package import ONNX_FILE, OnnxFile, read_contract, save_package
from registry.prediction_task import Sequence
from tests.support.drawn_strings import drawn_string, write_string_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_string_folder(tmp_path_factory.mktemp("amounts") / "car", ["12", "345", "6789", "10", "77777"])


def test_a_file_is_on_the_canvas_as_a_server_decodes_it_and_comes_off_again(folder: Path) -> None:
    for example in load_string_folder(folder):
        content = (folder / "images" / example.name).read_bytes()
        canvas = to_canvas(example.picture)
        assert np.array_equal(canvas, decode_image(parse_header(content), "dark-on-light", HEIGHT, WIDTH))
        picture = from_canvas(canvas)
        assert picture.shape[0] == HEIGHT
        assert picture.shape[1] == pytest.approx(example.picture.shape[1] * HEIGHT / example.picture.shape[0], abs=2)
        assert np.median(picture) == pytest.approx(np.median(example.picture), abs=3)


def test_a_canvas_whose_ink_is_dark_is_taken_as_it_is() -> None:

    empty = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert from_canvas(empty).min() == 255
    bright = np.full((HEIGHT, WIDTH), 200, np.uint8)
    assert np.array_equal(from_canvas(bright), bright)


def test_a_wide_picture_loses_the_rows_around_it() -> None:
    wide = np.full((20, 800), 150, np.uint8)
    assert from_canvas(to_canvas(wide)).shape == (10, WIDTH)


def test_the_engine_answers_as_the_reader_of_strings_does(folder: Path) -> None:
    engine, strings = load_amount_engine(BUNDLED_MODEL, PIPELINE.contract), load_string_engine()
    rows = scanned_rows(load_string_folder(folder), "rows")
    answers = engine.reader.answers(engine(rows.batch))
    for image, answer in zip(images_of(rows.batch), answers, strict=True):
        reading = strings.read(from_canvas(image))
        assert answer.label == reading.text
        assert answer.confidence == pytest.approx(reading.confidence, abs=1e-6)
        assert answer.shares == pytest.approx(reading.positions, abs=1e-6)
    assert isinstance(engine.reader, TextReader)


def test_an_engine_of_amounts_answers_digits_alone() -> None:
    letters = ModelContract(ImageInputs(HEIGHT, WIDTH), Sequence("abc", 3))
    with pytest.raises(ModelFormatError, match="answers texts of 0123456789"):
        AmountEngine(BUNDLED_MODEL.read_bytes(), letters)


def test_a_version_of_texts_is_saved_and_opened_as_one_graph(tmp_path: Path) -> None:
    save_package(tmp_path / "model", OnnxFile(BUNDLED_MODEL.read_bytes()), ["onnxruntime==1"], PIPELINE.contract)
    contract = read_contract(tmp_path / "model")
    assert contract == PIPELINE.contract
    assert (tmp_path / "model" / ONNX_FILE).is_file()
    engine = load_engine(tmp_path / "model", contract, EngineConfig())
    assert engine(image_batch(np.zeros((1, HEIGHT, WIDTH), np.uint8))).shape == (1, 1 + 2 * TASK.longest)


def test_the_network_comes_back_from_its_graph(folder: Path) -> None:
    network = network_from_graph(BUNDLED_MODEL.read_bytes())
    again = AmountEngine(export_strings(network, 1.1909), PIPELINE.contract)
    kept = load_amount_engine(BUNDLED_MODEL, PIPELINE.contract)
    rows = scanned_rows(load_string_folder(folder), "rows")
    assert np.allclose(again(rows.batch), kept(rows.batch), atol=1e-4)


def test_labelled_rows_train_by_their_weight_and_teach_no_single_step(folder: Path) -> None:
    rows = scanned_rows(load_string_folder(folder), "rows")
    strings = written_rows(rows, [1.0, 0.0, 1.0, 1.0, 1.0])
    assert [string.text for string in strings] == ["12", "345", "6789", "10", "77777"]
    assert (padded(strings).step_classes == IGNORED).all()
    training = TrainingStrings(strings, ())
    rng = np.random.default_rng(0)
    drawn = {training._drawn_scan(rng).text for _ in range(60)}
    assert drawn == {"12", "6789", "10", "77777"}


def test_weights_count_beside_one_another(folder: Path) -> None:
    rows = scanned_rows(load_string_folder(folder), "rows")
    training = TrainingStrings(written_rows(rows, [3.0, 0.0, 0.0, 1.0, 0.0]), ())
    rng = np.random.default_rng(0)
    drawn = Counter(training._drawn_scan(rng).text for _ in range(4_000))
    assert drawn["12"] + drawn["10"] == 4_000
    assert 2_850 < drawn["12"] < 3_150  # of 3 000, by five standard deviations


def test_the_parts_of_a_folder_become_sides_and_a_text_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    data = write_string_folder(tmp_path / "car", [*(str(number) for number in range(100, 160)), "1234567890"])
    split = load_amounts(data)
    sides = (split.train, split.validation, split.golden)
    assert sum(len(side) for side in sides) == 60
    assert all(len(side) for side in sides)
    assert not len(split.stream)


@pytest.mark.parametrize("kind", list(DISTURBANCES))
def test_each_disturbance_changes_the_picture_and_more_so_at_a_higher_level(kind: str) -> None:
    canvas = to_canvas(drawn_string("2468")[0])[None]
    changes = [np.abs(disturbed(canvas, kind, level).astype(int) - canvas).mean() for level in (1, 2, 3)]
    assert 0 < changes[0] < changes[2]
    assert np.array_equal(disturbed(canvas, kind, 2), disturbed(canvas, kind, 2))
