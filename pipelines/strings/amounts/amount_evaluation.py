"""What reports and the gate ask of pictures of amounts: other pens, fainter ink, slant, noise and soft scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipelines.batch import Batch
from pipelines.data import Examples, content_hash, image_batch, images_of
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.input_evaluation import CardTexts, Disturbance, Drawing, RobustnessScore
from pipelines.strings.amounts.canvas import from_canvas, to_canvas
from registry.model_contract import ModelContract, image_inputs
from registry.prediction_task import Task

Picture = NDArray[np.float64]
ROBUSTNESS_ROWS: Final = 200
MILD_LEVEL, SEVERE_LEVEL = 1, 3
TEXTS = CardTexts(
    tag="image-to-text",
    row="picture",
    answered="read",
    robustness="thicker and thinner pens, fainter ink, slant, noise and soft scans at level 1 (mild) and 3 (strong).",
    no_groups="Of who wrote the golden rows nothing is known, so no group of people could be compared.",
)


def _thick_pen(picture: Picture, level: int, _rng: np.random.Generator) -> Picture:
    return _towards(picture, ndimage.grey_erosion(picture, size=(3, 3)), level)


def _thin_pen(picture: Picture, level: int, _rng: np.random.Generator) -> Picture:
    return _towards(picture, ndimage.grey_dilation(picture, size=(2, 2)), level)


def _faint_ink(picture: Picture, level: int, _rng: np.random.Generator) -> Picture:
    paper = np.median(picture)
    return paper + (picture - paper) * (0.6, 0.4, 0.25)[level - 1]


def _slant(picture: Picture, level: int, _rng: np.random.Generator) -> Picture:
    lean, rows = (0.15, 0.25, 0.35)[level - 1], picture.shape[0]
    image = Image.fromarray(picture.astype(np.float32))
    map_back = (1, lean, -lean * rows / 2, 0, 1, 0)
    moved = image.transform(
        image.size, Image.Transform.AFFINE, map_back, Image.Resampling.BILINEAR, fillcolor=float(np.median(picture))
    )
    return np.asarray(moved, dtype=np.float64)


def _noise(picture: Picture, level: int, rng: np.random.Generator) -> Picture:
    return picture + rng.normal(0.0, (10.0, 20.0, 30.0)[level - 1], picture.shape)


def _soft_scan(picture: Picture, level: int, _rng: np.random.Generator) -> Picture:
    blurred: Picture = ndimage.gaussian_filter(picture, (0.7, 1.1, 1.5)[level - 1])
    return blurred


def _towards(picture: Picture, other: Picture, level: int) -> Picture:
    return picture + (other - picture) * (level / SEVERE_LEVEL)


DISTURBANCES: Final[Mapping[str, Callable[[Picture, int, np.random.Generator], Picture]]] = {
    "thick pen": _thick_pen,
    "thin pen": _thin_pen,
    "faint ink": _faint_ink,
    "slant": _slant,
    "noise": _noise,
    "soft scan": _soft_scan,
}


def disturbed(canvases: NDArray[np.uint8], kind: str, level: int) -> NDArray[np.uint8]:
    """The canvases (n, height, width) as they were had their pictures been written or scanned so.

    What is drawn at random follows from the picture.
    """
    changed = []
    for canvas in canvases:
        rng = np.random.default_rng(int(content_hash(canvas)[:16], 16))
        picture = DISTURBANCES[kind](from_canvas(canvas).astype(np.float64), level, rng)
        changed.append(to_canvas(np.clip(np.rint(picture), 0, 255).astype(np.uint8)))
    return np.stack(changed) if changed else canvases


class AmountEvaluation:
    """The evaluation of pictures of amounts."""

    @property
    def texts(self) -> CardTexts:
        """Pictures are read."""
        return TEXTS

    def describe(self, contract: ModelContract) -> str:
        """The size that a picture is fitted into."""
        inputs = image_inputs(contract)
        return f"one grey picture of an amount, fitted into {inputs.height}×{inputs.width} pixels"

    def mild_disturbances(self, batch: Batch) -> Iterator[Disturbance]:
        """The pictures under each disturbance, a little."""
        return self._disturbances(batch, MILD_LEVEL)

    def severe_disturbances(self, batch: Batch) -> Iterator[Disturbance]:
        """The pictures under each disturbance, much."""
        return self._disturbances(batch, SEVERE_LEVEL)

    def robustness(self, engine: InferenceEngine, golden: Examples) -> tuple[RobustnessScore, ...]:
        """What is still read right, on some golden rows drawn by hash."""
        by_hash = np.argsort(np.array(golden.ids), kind="stable")
        some = golden.take(by_hash[:ROBUSTNESS_ROWS])
        scores = []
        for kind, level, batch in (*self.mild_disturbances(some.batch), *self.severe_disturbances(some.batch)):
            right = int((engine.reader.numbers(engine(batch)) == some.labels).sum())
            scores.append(RobustnessScore(kind, level, right, len(some)))
        return tuple(scores)

    def column_effects(self, _engine: InferenceEngine, _golden: Examples, _contract: ModelContract) -> None:
        """None: pictures have no columns."""
        return

    def sample_figure(self, rows: Examples, label: Callable[[int], str], answers: Sequence[str] | None) -> Drawing:
        """The first pictures with their truth; a wrong reading is shown in red."""
        from pipelines.evaluation.image_figures import sample_grid

        return partial(sample_grid, images_of(rows.batch), [label(number) for number in rows.labels.tolist()], answers)

    def confusion_figure(
        self,
        _rows: Examples,
        _answers: NDArray[np.int64],
        _pairs: Sequence[tuple[int, int, int]],
        _classes: Sequence[str],
    ) -> None:
        """None: lengths are no pictures that are taken for one another."""
        return

    def profile_figures(self, rows: Examples, task: Task) -> Mapping[str, Drawing]:
        """Samples of the rows."""
        return {"train_samples": self.sample_figure(rows, task.label, None)}

    def _disturbances(self, batch: Batch, level: int) -> Iterator[Disturbance]:
        for kind in DISTURBANCES:
            yield Disturbance(kind, level, image_batch(disturbed(images_of(batch), kind, level)))
