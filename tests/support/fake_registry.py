"""A registry room in memory, and a tiny family: what the tests of making candidates need of the outside."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import Examples, FeedbackRows, Split, images_of
from pipelines.engines.exportable import Exportable, save_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.image.image_examples import image_examples
from pipelines.image_pipeline import image_pipeline
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.training.network_trainer import NetworkTrainer
from registry.catalog import Catalog, RegisteredVersion
from registry.errors import UnknownVersionError
from registry.model_contract import ModelContract, image_classifier
from registry.model_package import MODEL_FILE, ONNX_FILE, ModelFiles, OnnxFile
from registry.runs import Run, RunStatus, TrackingStore
from tests.support.bars import TINY, draw_bars
from tests.support.image_feedback import image_feedback
from tests.support.version_folder import write_contract

BARS = image_classifier(("upright", "lying"), 12, 12)
EASY = replace(TINY, epochs=6)


def without_graph(_module: Exportable, _rows: Batch, _probabilities: NDArray[np.float32]) -> None:
    """No graph for ONNX Runtime: exporting one takes longer than all else about a candidate of bars."""


def make_plain_candidate(spec: TrainingSpec, *places: Any, **told: Any) -> Candidate:  # noqa: ANN401
    """Makes a candidate that PyTorch serves."""
    plain = replace(spec.pipeline, trainer=NetworkTrainer(without_graph))
    return make_candidate(replace(spec, pipeline=plain), *places, **told)


class Always(TorchEngine):
    """A model that always gives the same answer."""

    def __init__(self, family: Pipeline, answer: int) -> None:
        self.reader, self.inputs = ClassReader(family.classes), family.contract.inputs
        self._answer = answer

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        probabilities = np.zeros((len(batch), len(self.classes)), dtype=np.float32)
        probabilities[:, self._answer] = 1.0
        return probabilities


class FakeRun(Run):
    """A run that keeps what is logged, figures only where they are wanted."""

    def __init__(self, run_id: str, name: str, tags: Mapping[str, str], *, figures: bool = True) -> None:
        self.id, self.name, self.experiment_id = run_id, name, "1"
        self.tags = dict(tags)
        self.params: dict[str, str | int | float | bool] = {}
        self.metrics: dict[str, list[float]] = {}
        self.texts: dict[str, str] = {}
        self.keeps_figures, self.figures = figures, dict[str, bytes]()
        self.datasets: dict[str, tuple[str, str, int]] = {}
        self.models: dict[str, Exportable] = {}
        self.contracts: dict[str, ModelContract] = {}
        self.status: RunStatus | None = None
        self.onnx: bytes | None = None

    def log_params(self, params: Mapping[str, str | int | float | bool]) -> None:
        self.params |= params

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.tags |= tags

    def log_figure(self, name: str, draw: Callable[[], bytes]) -> None:
        if self.keeps_figures:
            self.figures[name] = draw()

    def log_text(self, name: str, text: str) -> None:
        self.texts[name] = text

    def log_dataset(self, name: str, digest: str, source: str, context: str, rows: int) -> None:
        self.datasets[context] = (name, digest, rows)

    def log_model(
        self,
        files: ModelFiles,
        requirements: Sequence[str],
        contract: ModelContract,
        name: str = "model",
    ) -> str:
        self.contracts[f"models:/m-{self.id}"] = contract
        if isinstance(files, OnnxFile):
            self.onnx = files.content
            return f"models:/m-{self.id}"
        assert isinstance(files.module, Exportable)
        assert (len(files.input_example), len(files.output_example)) == (2, 2)
        self.models[f"models:/m-{self.id}"] = files.module
        self.onnx = files.onnx
        return f"models:/m-{self.id}"


class FakeTracking(TrackingStore):
    """Runs in memory, with the figures they are given where these are wanted."""

    def __init__(self, *, figures: bool = False) -> None:
        super().__init__("sqlite:///unused.db")
        self.keeps_figures = figures
        self.runs: list[FakeRun] = []
        self.experiments: Counter[str] = Counter()

    def opened(self, run_id: str, name: str, tags: Mapping[str, str]) -> FakeRun:
        """A new run."""
        return FakeRun(run_id, name, tags, figures=self.keeps_figures)

    @contextmanager
    def start_run(
        self,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        stop_errors: tuple[type[Exception], ...] = (),
    ) -> Iterator[FakeRun]:
        run = self.opened(f"run-{len(self.runs) + 1}", run_name, tags or {})
        self.runs.append(run)
        self.experiments[experiment] += 1
        try:
            yield run
        except BaseException as error:
            run.status = "KILLED" if isinstance(error, stop_errors) else "FAILED"
            raise
        run.status = "FINISHED"

    def read_text(self, run_id: str, name: str) -> str | None:
        texts = next((run.texts for run in self.runs if run.id == run_id), {})
        return texts.get(name)


@dataclass
class MemoryCatalog(Catalog):
    """Registered versions in memory; a download exports the model that was logged."""

    tracking: FakeTracking
    held: dict[int, RegisteredVersion] = field(default_factory=dict)
    pointers: dict[str, int] = field(default_factory=dict)
    made: int = 0

    def register(
        self,
        name: str,
        model_uri: str,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> int:
        number = self.made = self.made + 1
        made = datetime(2026, 1, 1, tzinfo=UTC)
        self.held[number] = RegisteredVersion(name, number, run_id, made, dict(tags or {}), description, (), model_uri)
        return number

    def version(self, name: str, version: int) -> RegisteredVersion:
        if version not in self.held:
            raise UnknownVersionError(f"Model {name!r} has no version {version}")
        return self.held[version]

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        return tuple(self.held[number] for number in sorted(self.held, reverse=True))

    def alias(self, name: str, alias: str) -> int | None:
        return self.pointers.get(alias)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.pointers[alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        self.pointers.pop(alias, None)

    def delete_version(self, name: str, version: int) -> None:
        del self.held[self.version(name, version).version]
        self.pointers = {alias: held for alias, held in self.pointers.items() if held != version}

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        found = self.version(name, version)
        self.held[version] = replace(found, tags={**found.tags, key: value})

    def contract(self, name: str, version: int) -> ModelContract:
        found = self.version(name, version)
        runs = [run for run in self.tracking.runs if run.id == found.run_id]
        return runs[0].contracts[found.source] if runs else BARS

    def download(self, name: str, version: int, target: Path) -> Path:
        found, folder = self.version(name, version), target / name / str(version)
        [run] = [run for run in self.tracking.runs if run.id == found.run_id]
        if found.source in run.models:
            save_exportable(run.models[found.source], folder / MODEL_FILE)
        else:
            assert run.onnx is not None
            (folder / ONNX_FILE).parent.mkdir(parents=True, exist_ok=True)
            (folder / ONNX_FILE).write_bytes(run.onnx)
        write_contract(folder, run.contracts[found.source])
        return folder


def bars_split(golden: int) -> Split:
    """Bars on noise, dealt to the four sides."""
    sides = {"train": 120, "validation": 40, "golden": golden, "stream": 40}
    made = {name: draw_bars(count, seed) for seed, (name, count) in enumerate(sides.items(), start=1)}
    return Split(
        **{name: image_examples(images_of(each.batch), each.labels, f"bars/{name}") for name, each in made.items()}
    )


def bars_family(split: Split) -> Pipeline:
    """A family of 12x12 bars, upright or lying."""
    return image_pipeline(
        name="bars",
        title="Bars",
        classes=("upright", "lying"),
        height=12,
        width=12,
        recipes={"easy": EASY},
        default_recipe="easy",
        load=lambda _folder: split,
        card={key: f"About {key.replace('_', ' ')}." for key in CARD_KEYS},
    )


def feedback_on(images: Examples) -> FeedbackRows:
    """The images as labelled feedback, one id each."""
    ids = tuple(f"feedback-{number}" for number in range(len(images)))
    return image_feedback(images_of(images.batch), images.labels, "feedback", ids)
