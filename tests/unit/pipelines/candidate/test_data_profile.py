"""The look at the data before a training."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.candidate.data_profile import class_balance_plot, log_data_profile, profile_data
from pipelines.data import Examples
from pipelines.errors import DataError
from pipelines.evaluation.image_evaluation import ImageEvaluation
from pipelines.evaluation.image_figures import class_means
from pipelines.image.image_examples import image_examples
from registry.prediction_task import Classification
from tests.support.bars import draw_bars
from tests.support.fake_registry import FakeRun

TASK = Classification(("upright", "lying"))


def sides() -> dict[str, Examples]:
    train, golden = draw_bars(30, 1), draw_bars(10, 2)
    copy, lie = train.take([0, 0]), replace(train.take([3]), labels=1 - train.labels[[3]])
    return {"train": Examples.concat("train", train, copy), "golden": Examples.concat("golden", golden, lie)}


def test_copies_and_contradicting_labels_are_found_across_sides() -> None:
    given = sides()
    found = profile_data(given, TASK)
    conflict, copy = found.duplicates
    truth = TASK.label(int(given["train"].labels[3]))
    assert conflict.is_conflict
    assert conflict.spans_splits
    assert conflict.places == (("train", truth), ("golden", TASK.label(1 - TASK.number(truth))))
    assert (len(copy.places), copy.is_conflict, copy.spans_splits) == (3, False, False)
    report = found.as_report()
    assert (report["images_with_copies"], report["images_labelled_differently"]) == (2, 1)
    assert report["images_on_several_sides"] == 1


def test_rows_are_counted_by_side_and_class_and_writers_where_known() -> None:
    given = sides()
    written = replace(given["golden"], groups=("a", "b", "") * 3 + ("a", "c"))
    found = profile_data({**given, "golden": written}, TASK)
    assert {side: sum(counts.values()) for side, counts in found.balance.items()} == {"train": 32, "golden": 11}
    assert found.balance["train"]["lying"] == int(given["train"].labels.sum())
    assert found.writers == {"golden": 3}


def test_a_mean_image_shows_what_a_class_has_in_common() -> None:
    images = np.zeros((4, 2, 2), np.uint8)
    images[1, 0, 0], images[3, 0, 0] = 100, 51
    rows = image_examples(images, np.array([0, 1, 0, 1]), "some")
    assert class_means(rows, ("a", "b", "never"))[:, 0, 0].tolist() == [0, 76]


def test_a_run_keeps_report_and_pictures(family_run: FakeRun) -> None:
    log_data_profile(family_run, sides(), TASK, ImageEvaluation())
    assert json.loads(family_run.texts["exploration.json"])["images_labelled_differently"] == 1
    assert set(family_run.figures) == {"class_balance", "train_samples", "class_means"}
    for png in family_run.figures.values():
        assert Image.open(io.BytesIO(png)).width > 200


@pytest.fixture
def family_run() -> FakeRun:
    return FakeRun("1", "a look", {})


def test_a_side_without_rows_is_no_bar_and_nothing_at_all_is_refused() -> None:
    given = sides()
    assert class_balance_plot(profile_data({**given, "stream": given["train"].take([])}, TASK)).startswith(b"\x89PNG")
    with pytest.raises(DataError, match="sides train hold no rows"):
        profile_data({"train": given["train"].take([])}, TASK)
