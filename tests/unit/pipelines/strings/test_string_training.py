"""Trainings of a network of strings: what they learn, how they go on, and what becomes of them as a graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from pipelines.errors import ModelFormatError, TrainingError
from pipelines.strings import string_training
from pipelines.strings.drawing.digit_glyphs import DigitGlyphs
from pipelines.strings.drawing.training_batches import StringBatch, TrainingStrings
from pipelines.strings.drawing.written_string import written_string
from pipelines.strings.ink import HEIGHT
from pipelines.strings.string_alphabet import BLANK, DIGITS
from pipelines.strings.string_engine import load_string_engine, string_engine_from_bytes
from pipelines.strings.string_examples import StringExample, load_string_folder
from pipelines.strings.string_export import export_strings
from pipelines.strings.string_network import STEP, StringNetwork, build_string_network
from pipelines.strings.string_training import (
    LabelledPicture,
    StringRecipe,
    TrainedStrings,
    checkpoint_file,
    contradicted_labels,
    string_loss,
    train_strings,
)
from tests.support.drawn_strings import drawn_digit, write_string_folder

RECIPE = StringRecipe(
    steps=8, decay_steps=4, warmup_steps=2, batch_rows=4, averaging=0.5, first_scanned_share=1.0, last_scanned_share=1.0
)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[StringExample, ...]:
    folder: Path = tmp_path_factory.mktemp("strings") / "car"
    return load_string_folder(write_string_folder(folder, ["12", "34", "56"]))


@pytest.fixture(scope="module")
def examples(scans: tuple[StringExample, ...]) -> list[LabelledPicture]:
    return [(example.picture, example.text) for example in scans]


@pytest.fixture(scope="module")
def strings(scans: tuple[StringExample, ...]) -> TrainingStrings:
    glyphs = DigitGlyphs(tuple((drawn_digit(int(digit)),) for digit in DIGITS))
    return TrainingStrings([written_string(example) for example in scans], (glyphs,))


@pytest.fixture(scope="module")
def trained(strings: TrainingStrings, examples: list[LabelledPicture]) -> TrainedStrings:
    return train_strings(RECIPE, strings, examples, look_every=3)


def test_the_network_gives_a_class_for_every_four_columns() -> None:
    network = build_string_network(0).eval()
    assert network(torch.zeros(2, 1, HEIGHT, 100)).shape == (2, 100 // STEP, BLANK + 1)
    again, other = build_string_network(0), build_string_network(1)
    assert torch.equal(network.classes.weight, again.classes.weight)
    assert not torch.equal(network.classes.weight, other.classes.weight)


def test_the_loss_falls_and_is_nothing_for_sure_and_right_scores(
    trained: TrainedStrings, strings: TrainingStrings
) -> None:
    losses = [look.train_loss for look in trained.history]
    assert losses[-1] < losses[0] / 1.5
    [batch, *_] = strings.batches(0, 0, 1, 1.0)
    logits = torch.full((1, int(batch.steps[0]), BLANK + 1), -50.0)
    logits[:, :, BLANK] = 0
    for place, target in enumerate(batch.targets.tolist()):
        logits[0, 2 + 4 * place, BLANK], logits[0, 2 + 4 * place, target] = -50.0, 0.0
    assert float(string_loss(logits, batch, 0.0)) == pytest.approx(0, abs=1e-3)
    assert float(string_loss(-logits, batch, 0.0)) > 10


def test_looks_come_at_their_steps_with_processor_time(
    strings: TrainingStrings, examples: list[LabelledPicture]
) -> None:
    ticks = iter(range(100))
    seen: list[int] = []
    result = train_strings(
        replace(RECIPE, steps=4, decay_steps=1),
        strings,
        examples,
        look_every=3,
        on_look=lambda look: seen.append(look.step),
        cpu_clock=lambda: float(next(ticks)),
    )
    assert seen == [3, 4]
    assert [look.cpu_seconds for look in result.history] == [1, 2]
    assert not result.network.training


def test_a_killed_training_goes_on_bit_for_bit(
    strings: TrainingStrings, examples: list[LabelledPicture], trained: TrainedStrings, tmp_path: Path
) -> None:
    class KilledError(Exception): ...

    def kill(look: object) -> None:
        if len(list(tmp_path.iterdir())):
            raise KilledError

    with pytest.raises(KilledError):
        train_strings(RECIPE, strings, examples, look_every=3, on_look=kill, checkpoint_folder=tmp_path)
    result = train_strings(RECIPE, strings, examples, look_every=3, checkpoint_folder=tmp_path)
    assert [look.step for look in result.history] == [3, 6, 8]
    expected = trained.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in result.network.state_dict().items())


@pytest.mark.parametrize("changed", [{"weight": 0.5}, {"spans": np.zeros((0, 2), np.float32)}, {"text": "99"}])
def test_a_training_goes_on_only_with_the_same_strings_of_the_same_weights(
    strings: TrainingStrings, changed: dict[str, Any], tmp_path: Path
) -> None:
    others = replace(strings, scanned=[replace(strings.scanned[0], **changed), *strings.scanned[1:]])
    same = replace(strings, scanned=list(strings.scanned))
    file = checkpoint_file(tmp_path, RECIPE, strings)
    assert checkpoint_file(tmp_path, RECIPE, same) == file != checkpoint_file(tmp_path, RECIPE, others)


def test_a_kept_training_may_go_on_to_more_steps(
    strings: TrainingStrings, examples: list[LabelledPicture], tmp_path: Path
) -> None:
    short = replace(RECIPE, steps=4, decay_steps=1)
    train_strings(short, strings, examples[:0], look_every=2, checkpoint_folder=tmp_path)
    longer = train_strings(replace(short, steps=6), strings, examples[:0], look_every=2, checkpoint_folder=tmp_path)
    assert [look.step for look in longer.history] == [2, 4, 6]


def test_labels_that_the_network_surely_contradicts_are_found_unless_they_are_many(strings: TrainingStrings) -> None:
    network = build_string_network(0)
    with torch.no_grad():
        network.classes.weight.zero_()
        network.classes.bias.fill_(-40.0)
        network.classes.bias[7] = 40.0
    seven = replace(strings.scanned[0], text="7")
    assert contradicted_labels(network, [seven] * 9 + [strings.scanned[0]]) == [9]
    assert contradicted_labels(network, [seven] * 2 + [strings.scanned[0]] * 2) == []
    with torch.no_grad():
        network.classes.bias.zero_()
    assert contradicted_labels(network, [seven] * 9 + [strings.scanned[0]]) == []


def test_a_scan_with_a_wrong_label_is_left_out_of_the_decay(
    strings: TrainingStrings, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[int] = []
    original = TrainingStrings.batches

    def batches(self: TrainingStrings, seed: int, number: int, rows: int, scanned_share: float) -> list[StringBatch]:
        taught.append(len(self.scanned))
        return original(self, seed, number, rows, scanned_share)

    monkeypatch.setattr(TrainingStrings, "batches", batches)
    monkeypatch.setattr(string_training, "contradicted_labels", lambda *_: [1])
    train_strings(RECIPE, strings, ())
    assert taught == [3, 2]


def test_the_rate_climbs_stays_and_falls_to_nearly_nothing() -> None:
    recipe = StringRecipe(steps=100, decay_steps=20, warmup_steps=10, learning_rate=1.0)
    assert [recipe.rate(step) for step in (0, 9, 79, 80, 90)] == pytest.approx([0.1, 1, 1, 1, 0.5])
    assert recipe.rate(99) == pytest.approx(0.05)
    assert (recipe.scanned_share(79), recipe.scanned_share(80)) == (0.4, 0.75)


@pytest.mark.parametrize("change", [{"decay_steps": 9}, {"batch_rows": 1}, {"learning_rate": 0.0}])
def test_a_recipe_that_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="give"):
        replace(RECIPE, **change)  # type: ignore[arg-type]


def test_a_training_that_breaks_down_says_so(strings: TrainingStrings) -> None:
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_strings(replace(RECIPE, learning_rate=1e30, warmup_steps=0), strings, ())


def test_the_graph_reads_as_the_network_at_half_the_size(
    trained: TrainedStrings, examples: list[LabelledPicture], tmp_path: Path
) -> None:
    content = export_strings(trained.network, 1.75)
    assert len(content) < 2.1 * sum(value.numel() for value in trained.network.state_dict().values())
    path = tmp_path / "amounts.onnx"
    path.write_bytes(content)
    engine = load_string_engine(path)
    assert engine.temperature == 1.75
    reading = engine.read(examples[0][0])
    assert len(reading.positions) == len(reading.text)
    assert 0 <= reading.confidence <= 1
    assert reading.candidates[0].text == reading.text


def test_a_picture_with_nothing_in_it_is_read_as_nothing() -> None:
    network = build_string_network(0)
    with torch.no_grad():
        network.classes.weight.zero_()
        network.classes.bias.fill_(-40.0)
        network.classes.bias[BLANK] = 40.0
    reading = string_engine_from_bytes(export_strings(network, 1.0)).read(np.full((40, 90), 200, np.uint8))
    assert (reading.text, reading.confidence, reading.positions) == ("", 0.0, ())


def test_another_graph_is_refused(trained: TrainedStrings) -> None:
    model = onnx.load_model_from_string(export_strings(trained.network, 1.0))
    model.metadata_props[0].value = "cold"
    with pytest.raises(ModelFormatError, match="temperature is 'cold'"):
        string_engine_from_bytes(model.SerializeToString())
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48
    with pytest.raises(ModelFormatError, match="give one of strings"):
        string_engine_from_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError):
        string_engine_from_bytes(b"nothing")


def test_a_network_that_answers_no_numbers_is_not_exported() -> None:
    network: StringNetwork = build_string_network(0)
    with torch.no_grad():
        network.classes.bias.fill_(float("nan"))
    with pytest.raises(ModelFormatError, match="otherwise than the network"):
        export_strings(network, 1.0)
