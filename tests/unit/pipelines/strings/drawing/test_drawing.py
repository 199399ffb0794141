"""Strings that nobody wrote: of glyphs, spliced of scans, moved; always the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import DataError
from pipelines.strings.drawing import string_augmentation
from pipelines.strings.drawing.digit_glyphs import DigitGlyphs, cut_to_strokes, glyphs_of_digits, glyphs_of_strings
from pipelines.strings.drawing.paper_texture import MARKS, draw_mark, texture
from pipelines.strings.drawing.string_augmentation import MAX_SPLICED_LENGTH, augmented, spliced
from pipelines.strings.drawing.synthetic_strings import synthetic_string, synthetic_text
from pipelines.strings.drawing.training_batches import IGNORED, TrainingStrings, padded, step_classes
from pipelines.strings.drawing.written_string import WrittenString, written_string
from pipelines.strings.ink import HEIGHT, MARGIN
from pipelines.strings.string_alphabet import BLANK, DIGITS
from pipelines.strings.string_examples import StringExample, load_string_folder
from pipelines.strings.string_network import STEP
from tests.support.amounts import is_amount
from tests.support.bars import draw_bars
from tests.support.drawn_strings import drawn_digit, write_string_folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[StringExample, ...]:
    folder: Path = tmp_path_factory.mktemp("strings") / "car"
    return load_string_folder(write_string_folder(folder, ["1234567", "890", "5000", "17"]))


@pytest.fixture(scope="module")
def glyphs() -> DigitGlyphs:
    return DigitGlyphs(tuple((drawn_digit(int(digit)),) for digit in DIGITS))


def test_glyphs_come_from_boxes_and_from_single_digits(examples: tuple[StringExample, ...]) -> None:
    found = glyphs_of_strings(examples)
    assert [len(each) for each in found.by_digit] == [4, 2, 1, 1, 1, 2, 1, 2, 1, 1]
    assert all(glyph.max() > 0.8 for each in found.by_digit for glyph in each)
    with pytest.raises(DataError, match="no glyph of 0, 1"):
        glyphs_of_strings(examples[:0])
    with pytest.raises(DataError, match="no glyph of 2, 3, 4, 5, 6, 7, 8, 9"):
        glyphs_of_digits(draw_bars(20, 0))


def test_a_glyph_is_cut_to_its_strokes() -> None:
    ink = np.zeros((10, 10), np.float32)
    ink[2:5, 3:4] = 1
    assert cut_to_strokes(ink).shape == (3, 1)
    assert cut_to_strokes(np.zeros((4, 4), np.float32)).size == 0


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_leaves_ink_and_says_where_it_ends(mark: str) -> None:
    canvas = np.zeros((40, 60), np.float32)
    end = draw_mark(canvas, mark, 10, 8, 24, 2, np.random.default_rng(0))
    assert canvas.max() > 0.6
    assert 10 < end < 40
    assert not canvas[:, int(end) + 4 :].any()


def test_printed_paper_is_paler_than_ink() -> None:
    for seed in range(20):
        paper = texture(40, 120, np.random.default_rng(seed))
        assert paper.shape == (40, 120)
        assert np.median(paper) < 0.35


def test_texts_are_amounts_of_the_usual_lengths() -> None:
    rng = np.random.default_rng(0)
    texts = [synthetic_text(rng) for _ in range(500)]
    assert all(is_amount(text) for text in texts)
    assert {len(text) for text in texts} == set(range(1, 8))
    assert 0.2 < np.mean([text.endswith("0") for text in texts]) < 0.6


def test_a_synthetic_string_shows_its_digits_in_their_places(glyphs: DigitGlyphs) -> None:
    for seed in range(20):
        string = synthetic_string(glyphs, np.random.default_rng(seed), "40271")
        assert string.text == "40271"
        assert string.ink.dtype == np.float32
        assert 0 <= string.ink.min() <= string.ink.max() <= 1
        assert (np.diff(string.spans.mean(axis=1)) > 0).all()
        for first, last in string.spans.astype(int):
            assert string.ink[:, first:last].max() > 0.5


def test_the_same_seed_draws_the_same_string_and_another_another(glyphs: DigitGlyphs) -> None:
    first, again, other = (synthetic_string(glyphs, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.ink, again.ink)
    assert first.text == again.text
    assert first.ink.shape != other.ink.shape or not np.array_equal(first.ink, other.ink)


def test_spliced_strings_are_beginnings_and_ends_of_scans(examples: tuple[StringExample, ...]) -> None:
    pool, rng = [written_string(example) for example in examples], np.random.default_rng(0)
    texts = set()
    for _ in range(200):
        string = spliced(pool, rng)
        texts.add(string.text)
        assert 1 <= len(string.text) == len(string.spans) <= MAX_SPLICED_LENGTH
        assert string.spans.min() >= 0
        assert string.spans.max() <= string.ink.shape[1]
        assert (np.diff(string.spans[:, 0]) > 0).all()
    assert len(texts - {example.text for example in examples}) > 20


def test_scans_whose_digits_all_touch_are_not_cut() -> None:
    ink = np.ones((20, 40), np.float32)
    string = WrittenString(ink, "12", np.array([[0, 30], [10, 40]], np.float32))
    assert spliced([string], np.random.default_rng(0)).text == "12"


def test_a_moved_string_has_its_digits_where_its_spans_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_augmentation, "BORDER_SHARE", 0.0)
    ink = np.zeros((40, 120), np.float32)
    ink[10:30, 30:40] = 1
    ink[10:30, 80:90] = 1
    string = WrittenString(ink, "11", np.array([[30, 40], [80, 90]], np.float32))
    for seed in range(30):
        moved = augmented(string, np.random.default_rng(seed))
        columns = moved.ink.sum(axis=0)
        for first, last in moved.spans:
            middle = int((first + last) / 2)
            assert columns[middle - 4 : middle + 5].max() > 0.6 * columns.max()


def test_a_printed_border_is_an_upright_line_at_an_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(string_augmentation, "BORDER_SHARE", 1.0)
    paper = WrittenString(np.zeros((40, 120), np.float32), "", np.zeros((0, 2), np.float32))
    for seed in range(20):
        lines = augmented(paper, np.random.default_rng(seed)).ink.min(axis=0) >= 0.4
        assert 1 <= lines.sum() <= 2
        assert lines[:6].any() or lines[-6:].any()


def test_boxes_that_are_unknown_are_guessed_evenly(examples: tuple[StringExample, ...]) -> None:
    bare = StringExample("x", examples[1].picture, "890", np.zeros((0, 4), np.int64))
    assert written_string(bare).spans[:, 1] == pytest.approx(np.array([1, 2, 3]) * bare.picture.shape[1] / 3)


def test_steps_are_taught_what_is_sure() -> None:
    string = WrittenString(np.zeros((HEIGHT, 80), np.float32), "47", np.array([[8, 24], [48, 64]], np.float32))
    classes = step_classes(string, 1.0, (80 + 2 * MARGIN) // STEP)
    assert set(classes.tolist()) == {4, 7, BLANK, IGNORED}
    middle = int((16 + MARGIN) / STEP)
    assert classes[middle] == 4
    assert classes[0] == BLANK
    assert (classes == 4).sum() == pytest.approx(8 / STEP, abs=1)


def test_batches_come_from_seed_and_number_alone(examples: tuple[StringExample, ...], glyphs: DigitGlyphs) -> None:
    strings = TrainingStrings([written_string(example) for example in examples], (glyphs,))
    first, again, other = (strings.batches(0, number, 3, 0.5) for number in (7, 7, 8))
    assert len(first) == 4
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.ink, two.ink)
        assert torch.equal(one.targets, two.targets)
    assert not all(torch.equal(one.targets, two.targets) for one, two in zip(first, other, strict=True))


def test_a_batch_is_padded_and_knows_how_far_each_string_goes(glyphs: DigitGlyphs) -> None:
    rng = np.random.default_rng(0)
    batch = padded([synthetic_string(glyphs, rng, text) for text in ("1", "1234567")])
    assert batch.ink.shape[3] == STEP * int(batch.steps.max())
    assert batch.lengths.tolist() == [1, 7]
    assert batch.targets.tolist() == [1, 1, 2, 3, 4, 5, 6, 7]
    assert (batch.step_classes[0, int(batch.steps[0]) :] == IGNORED).all()
    assert not batch.ink[0, :, :, STEP * int(batch.steps[0]) :].any()


def test_without_scans_only_synthetic_strings_are_drawn(glyphs: DigitGlyphs) -> None:
    [*batches] = TrainingStrings((), (glyphs,)).batches(0, 0, 2, 1.0)
    assert sum(len(batch.lengths) for batch in batches) == 8
