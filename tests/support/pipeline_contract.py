"""What every pipeline of pictures must keep: a subclass names it and writes a small folder as its loader reads it.

    class TestArabic(ClassPipelineContract):
        name: ClassVar = "arabic"

        def write_data(self, folder: Path) -> None:
            write_idx_pair(folder, ...)

One whose answers are no classes is a PipelineContract. A pipeline with bundled data needs no `write_data`: it is loaded
without a folder.
"""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pipelines.data import Examples, Split, images_of
from pipelines.discovery import find_pipeline, pipeline_names
from pipelines.errors import DataError, MissingDataError
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for, parameter_count
from pipelines.training.training_mix import mix_epoch_rows
from registry.model_contract import image_inputs

MAX_CLASS_LENGTH = 64
"""Characters of a label that the API and the database take."""


class PipelineContract:
    """Tests of one pipeline."""

    name: ClassVar[str]

    def write_data(self, folder: Path) -> None:
        """Write what the loader reads; nothing where data are bundled."""

    @pytest.fixture
    def pipeline(self) -> Pipeline:
        return find_pipeline(self.name)

    @pytest.fixture
    def data_folder(self, tmp_path: Path) -> Path | None:
        """A folder with data, or None where the bundled ones are loaded."""
        self.write_data(tmp_path)
        return tmp_path if any(tmp_path.iterdir()) else None

    @pytest.fixture
    def split(self, pipeline: Pipeline, data_folder: Path | None) -> Split:
        return pipeline.load(data_folder)

    def test_it_is_found_by_its_name(self, pipeline: Pipeline) -> None:
        assert self.name in pipeline_names()
        assert pipeline.name == self.name

    def test_its_card_has_all_texts(self, pipeline: Pipeline) -> None:
        assert pipeline.title.strip()
        assert set(pipeline.card) == set(CARD_KEYS)

    def test_its_recipes_have_their_names(self, pipeline: Pipeline) -> None:
        assert pipeline.default_recipe in pipeline.recipes
        assert [recipe.name for recipe in pipeline.recipes.values()] == list(pipeline.recipes)

    def test_the_four_sides_have_its_size(self, pipeline: Pipeline, split: Split) -> None:
        for name, side in sides_of(split):
            assert images_of(side.batch).shape[1:] == (*image_inputs(pipeline.contract).size,), name
            assert images_of(side.batch).dtype == np.uint8
            assert not side.groups or len(side.groups) == len(side)

    def test_no_image_is_on_two_sides(self, split: Split) -> None:
        held = [set(side.ids) for _, side in sides_of(split)]
        assert sum(map(len, held)) == len(set().union(*held))
        assert len(split.train)
        assert len(split.golden)

    def test_images_are_bright_ink_on_dark_ground(self, split: Split) -> None:
        """As the server hands them to the model; a pipeline that loads them inverted trains for other images."""
        corners = images_of(split.train.batch)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.median(corners) < 64

    def test_loading_again_gives_the_same_split(self, pipeline: Pipeline, data_folder: Path | None) -> None:
        first, second = (pipeline.load(data_folder) for _ in range(2))
        assert [side.digest for _, side in sides_of(first)] == [side.digest for _, side in sides_of(second)]

    def test_each_factor_of_fairness_tags_every_row_or_none(self, pipeline: Pipeline, split: Split) -> None:
        for factor, tags in pipeline.sensitive_groups(split.golden).items():
            assert len(tags) in (0, len(split.golden)), factor

    def test_data_sets_that_only_judge_have_its_size(self, pipeline: Pipeline, data_folder: Path | None) -> None:
        for rows in pipeline.external_datasets(data_folder):
            assert images_of(rows.batch).shape[1:] == (*image_inputs(pipeline.contract).size,)

    def test_a_folder_without_its_data_is_refused_with_the_remedy(self, pipeline: Pipeline, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(MissingDataError, match=r"[;,] "):
            pipeline.load(empty)
        with pytest.raises(DataError):
            pipeline.load(tmp_path / "nowhere")


class ClassPipelineContract(PipelineContract):
    """Tests of one pipeline whose answers are classes."""

    max_parameters: ClassVar[int] = 2_000_000
    """Weights of its largest network: models are small enough to answer on a CPU within milliseconds."""

    def test_its_classes_are_labels_that_api_and_database_take(self, pipeline: Pipeline) -> None:
        assert len(pipeline.classes) == len(set(pipeline.classes)) >= 2
        for label in pipeline.classes:
            assert 0 < len(label) <= MAX_CLASS_LENGTH
            assert label.isprintable()
            assert label.strip() == label

    def test_every_recipe_builds_a_network_for_its_images_and_classes(self, pipeline: Pipeline) -> None:
        for recipe in pipeline.recipes.values():
            network = network_for(pipeline.contract, network_recipe(recipe))
            assert 10_000 < parameter_count(network) < self.max_parameters

    def test_the_labels_of_all_sides_are_numbers_of_its_classes(
        self, pipeline: Pipeline, split: Split, data_folder: Path | None
    ) -> None:
        for rows in (*(side for _, side in sides_of(split)), *pipeline.external_datasets(data_folder)):
            assert set(np.unique(rows.labels)) <= set(range(len(pipeline.classes))), rows.name

    def test_its_rows_can_be_trained_on(self, pipeline: Pipeline, split: Split) -> None:
        assert mix_epoch_rows(split.train, None, network_recipe(pipeline.recipe())) is not None


def sides_of(split: Split) -> Iterator[tuple[str, Examples]]:
    """The sides of a split that are sets of images, by name."""
    for field in fields(split):
        side = getattr(split, field.name)
        if isinstance(side, Examples):
            yield field.name, side
