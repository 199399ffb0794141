"""What reports and the gate ask of grey pictures: corruptions, attacks, and drawings of samples.

PyTorch, SciPy and matplotlib are imported where they are used: naming a pipeline costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import Examples, image_batch, images_of
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import DataError
from pipelines.input_evaluation import CardTexts, Disturbance, Drawing, RobustnessScore
from registry.model_contract import ModelContract, image_inputs
from registry.prediction_task import Task

SEVERE_LEVEL = 3
TEXTS = CardTexts(
    tag="image-classification",
    row="image",
    answered="read",
    robustness="corruptions at level 1 (mild) and 3 (strong), and attacks that know the model "
    "(fgsm: one step, pgd: ten), their level being the most that a pixel changes, of 1. No defence is claimed.",
    no_groups="Of who wrote the golden rows nothing is known, so no group of people could be compared.",
)


class ImageEvaluation:
    """The evaluation of grey pictures."""

    @property
    def texts(self) -> CardTexts:
        """Images are read."""
        return TEXTS

    def describe(self, contract: ModelContract) -> str:
        """An image's size."""
        inputs = image_inputs(contract)
        return f"one grey image of {inputs.height}×{inputs.width} pixels, from 0 to 1"

    def mild_disturbances(self, batch: Batch) -> Iterator[Disturbance]:
        """The images under each mild corruption."""
        from pipelines.image.corruptions import mild_corruptions

        for kind, images in mild_corruptions(images_of(batch)).items():
            yield Disturbance(kind, 1, image_batch(images))

    def severe_disturbances(self, batch: Batch) -> Iterator[Disturbance]:
        """The images under every corruption of the card's table at its strongest level there."""
        from pipelines.image.corruptions import SEVERITIES, corrupt

        for kind in SEVERITIES:
            yield Disturbance(kind, SEVERE_LEVEL, image_batch(corrupt(images_of(batch), kind, SEVERE_LEVEL)))

    def robustness(self, engine: InferenceEngine, golden: Examples) -> tuple[RobustnessScore, ...]:
        """Corruptions, and attacks on the engine's PyTorch graph; raises DataError for an engine without one."""
        from pipelines.engines.torch_engine import TorchEngine
        from pipelines.evaluation.robustness import quick_robustness

        if not isinstance(engine, TorchEngine):
            raise DataError(f"attacks follow gradients, and {engine.name} has none; evaluate the PyTorch graph")
        return quick_robustness(engine, golden)

    def column_effects(self, _engine: InferenceEngine, _golden: Examples, _contract: ModelContract) -> None:
        """None: pictures have no columns."""
        return

    def sample_figure(self, rows: Examples, label: Callable[[int], str], answers: Sequence[str] | None) -> Drawing:
        """The first images with their truth; a wrong guess is shown in red."""
        from pipelines.evaluation.image_figures import sample_grid

        return partial(sample_grid, images_of(rows.batch), [label(number) for number in rows.labels.tolist()], answers)

    def confusion_figure(
        self, rows: Examples, answers: NDArray[np.int64], pairs: Sequence[tuple[int, int, int]], classes: Sequence[str]
    ) -> Drawing:
        """The first images of each confused pair."""
        from pipelines.evaluation.image_figures import confused_images

        return partial(confused_images, images_of(rows.batch), rows.labels, answers, pairs, classes)

    def profile_figures(self, rows: Examples, task: Task) -> Mapping[str, Drawing]:
        """Samples of each class, and the mean image of each class that has rows."""
        from pipelines.evaluation.image_figures import class_means, sample_grid, sample_rows

        classes = task.counted_names
        sample = rows.take(sample_rows(rows, classes))
        there = [name for label, name in enumerate(classes) if label in rows.labels]
        return {
            "train_samples": partial(sample_grid, images_of(sample.batch), [classes[label] for label in sample.labels]),
            "class_means": partial(sample_grid, class_means(rows, classes), there),
        }
