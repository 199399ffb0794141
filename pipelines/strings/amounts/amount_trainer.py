"""The trainer of amounts: a network of strings, begun with the champion's weights, as the graph that servers load."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.data import Examples, images_of
from pipelines.errors import TrainingError, TrainingStopped
from pipelines.recipe import Recipe
from pipelines.trainer import TrainedModel, TrainingRequest
from registry.installed_version import installed_version
from registry.model_contract import ModelContract
from registry.model_package import OnnxFile

if TYPE_CHECKING:
    from pipelines.strings.amounts.amount_engine import AmountEngine
    from pipelines.strings.string_network import StringNetwork
    from pipelines.strings.string_training import LabelledPicture, StringProgress, StringRecipe


@dataclass(frozen=True, kw_only=True)
class AmountRecipe(Recipe):
    """One way of training a network of amounts."""

    steps: int
    decay_steps: int
    warmup_steps: int
    learning_rate: float
    batch_rows: int = 24
    labelled_share: float = 0.7
    """Share of labelled rows among the strings that train; the others are drawn."""
    averaging: float = 0.998
    look_every: int = 50
    """Steps between two looks at the validation rows, at each of which a training can be stopped and goes on from."""
    warm_start: bool = True
    """Whether a training begins with the champion's weights, and the first one with those of the kept model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "decay_steps", "look_every"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("labelled_share", 0 <= self.labelled_share <= 1, "a share from 0 to 1")
        self._require("averaging", 0 <= self.averaging < 1, "a share from 0 to below 1")

    def of_network(self, seed: int) -> StringRecipe:
        """The same for the training of the network."""
        from pipelines.strings.string_training import StringRecipe

        return StringRecipe(
            steps=self.steps,
            decay_steps=self.decay_steps,
            warmup_steps=self.warmup_steps,
            batch_rows=self.batch_rows,
            learning_rate=self.learning_rate,
            first_scanned_share=self.labelled_share,
            last_scanned_share=self.labelled_share,
            averaging=self.averaging,
            doubts_labels=False,
            seed=seed,
        )


@dataclass(frozen=True)
class AmountTrainer:
    """Trains by an AmountRecipe."""

    stopwatch: Callable[[], float] = time.perf_counter

    def train(self, request: TrainingRequest) -> TrainedModel:
        """Train, fit the temperature on the validation rows, export, and open the graph as a server does."""
        from pipelines.strings.amounts.amount_engine import AmountEngine
        from pipelines.strings.amounts.amount_examples import TASK, bundled_glyphs, written_rows
        from pipelines.strings.drawing.training_batches import TrainingStrings
        from pipelines.strings.string_confidence import fit_string_temperature
        from pipelines.strings.string_export import export_strings
        from pipelines.strings.string_training import checkpoint_file, train_strings
        from pipelines.training.network import parameter_count

        began, recipe = self.stopwatch(), _amount_recipe(request.recipe)
        start, initial_weights = _initial_network(request, recipe)
        request.log_params({"begins_with": initial_weights})
        strings = TrainingStrings(written_rows(request.rows, request.weights.tolist()), (bundled_glyphs(),))
        network_recipe = recipe.of_network(request.seed)
        trained = train_strings(
            network_recipe,
            strings,
            _validation(request.validation),
            start=start,
            look_every=recipe.look_every,
            on_look=lambda look: _on_look(request, look),
            checkpoint_folder=request.checkpoint_folder,
        )
        raw = AmountEngine(export_strings(trained.network, 1.0), request.contract)
        readings = [raw.read(image).candidates for image in images_of(request.validation.batch)]
        temperature = fit_string_temperature(
            readings, [TASK.label(each) for each in request.validation.labels.tolist()]
        )
        content = export_strings(trained.network, temperature)
        engine, parameters = AmountEngine(content, request.contract), parameter_count(trained.network)
        file = checkpoint_file(request.checkpoint_folder, network_recipe, strings, start)
        return TrainedModel(
            engine=engine,
            size_bytes=len(content),
            seconds=self.stopwatch() - began,
            files=lambda _batch, _answers: OnnxFile(content),
            packages=("onnxruntime", "numpy", "mlflow"),
            temperature=temperature,
            metrics={"parameters": parameters},
            model_details={"Network": f"{parameters:,} parameters, {len(content) / 1024:.0f} KiB as an ONNX graph"},
            training_details={"Steps": f"{recipe.steps} of {recipe.batch_rows} strings, begun with {initial_weights}"},
            software={"PyTorch": installed_version("torch"), "onnxruntime": installed_version("onnxruntime")},
            discard_checkpoint=lambda: None if file is None else file.unlink(missing_ok=True),
        )


def kept_engine(contract: ModelContract) -> AmountEngine:
    """The model that comes with the platform."""
    from pipelines.strings.amounts.amount_engine import load_amount_engine
    from pipelines.strings.string_engine import BUNDLED_MODEL

    return load_amount_engine(BUNDLED_MODEL, contract)


def _amount_recipe(recipe: Recipe) -> AmountRecipe:
    if not isinstance(recipe, AmountRecipe):
        raise TrainingError(f"recipe '{recipe.name}' trains no network of amounts; give an AmountRecipe")
    return recipe


def _initial_network(request: TrainingRequest, recipe: AmountRecipe) -> tuple[StringNetwork | None, str]:
    """The network to begin with, None for fresh weights, and whose weights they are."""
    from pipelines.strings.amounts.amount_engine import AmountEngine
    from pipelines.strings.string_import import network_from_graph

    if not recipe.warm_start:
        return None, "fresh weights"
    champion = request.champion
    if champion is not None and isinstance(champion.engine, AmountEngine):
        return network_from_graph(champion.engine.content), f"version {champion.version}"
    return network_from_graph(kept_engine(request.contract).content), "the kept model"


def _validation(rows: Examples) -> list[LabelledPicture]:
    from pipelines.strings.amounts.amount_examples import TASK
    from pipelines.strings.amounts.canvas import from_canvas

    return [
        (from_canvas(image), TASK.label(number))
        for image, number in zip(images_of(rows.batch), rows.labels.tolist(), strict=True)
    ]


def _on_look(request: TrainingRequest, look: StringProgress) -> None:
    request.log_metrics({"train_loss": look.train_loss, "validation_accuracy": look.validation_right}, look.step)
    if request.should_stop():
        raise TrainingStopped(f"stopped at step {look.step}, as was asked")
