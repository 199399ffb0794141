"""A pipeline whose training is to take over a graph that was exported from a model fitted elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pipelines.data import Examples, Split, split_by_group
from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.errors import DataError, TrainingError
from pipelines.evaluation.table_evaluation import TableEvaluation
from pipelines.exports.export_model import ExportFidelity
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.recipe import Recipe
from pipelines.table.adopted_columns import adopted_columns
from pipelines.table.export_request import ExportResult
from pipelines.table.golden_rows import GoldenRows
from pipelines.table.table_data import FEWEST_ROWS, labelled_rows
from pipelines.table.table_pipeline import BLOCK_SECONDS, NOT_STATED
from pipelines.trainer import TrainedModel, TrainingRequest
from registry.installed_version import installed_version
from registry.model_contract import ModelContract, TableInputs
from registry.model_package import OnnxFile
from registry.prediction_task import Classification

RECIPE: Final = Recipe(name="adopted")
CALIBRATION_SHARE: Final = 0.2
"""Of the golden rows: they say how far the model's confidence may be believed, the others judge it."""


@dataclass(frozen=True, eq=False)
class AdoptedModel:
    """A graph with what is known of the model that it was made of."""

    content: bytes
    fidelity: ExportFidelity
    model: str
    details: Mapping[str, str] = field(default_factory=dict)
    """Lines of the model card: where it came from, and how it was opened."""


@dataclass(frozen=True, eq=False)
class AdoptedTrainer:
    """Gives the graph as it is to whoever would train."""

    adopted: AdoptedModel
    stopwatch: Callable[[], float] = time.perf_counter

    def train(self, request: TrainingRequest) -> TrainedModel:
        """The graph, opened as a server does; raises ModelFormatError where it does not fit the contract."""
        if len(request.rows):
            raise TrainingError("a model that was adopted is not trained here; write a pipeline that trains it")
        began, content, fidelity = self.stopwatch(), self.adopted.content, self.adopted.fidelity
        engine = table_engine_from_bytes(content, request.contract, threads=1)
        return TrainedModel(
            engine=engine,
            size_bytes=len(content),
            seconds=self.stopwatch() - began,
            files=lambda _batch, _answers: OnnxFile(content),
            packages=("onnxruntime", "numpy", "mlflow"),
            metrics={
                "export_different_answers": fidelity.different_answers,
                "export_largest_difference": fidelity.largest_difference,
            },
            model_details={
                "Model": f"{self.adopted.model}, as an ONNX graph of {len(content) / 1024:.0f} KiB",
                **self.adopted.details,
                "Export": fidelity.to_sentence(),
            },
            software={"onnxruntime": installed_version("onnxruntime")},
        )


@dataclass(frozen=True)
class AdoptionTexts:
    """What its owner says of a model."""

    name: str
    source: str
    about: str = ""


def adopted_contract(
    rows: GoldenRows,
    result: ExportResult,
    kinds: Mapping[str, str],
    costs: Mapping[tuple[str, str], float],
) -> ModelContract:
    """What the graph takes and answers, ranges and categories as the golden rows have them; raises DataError."""
    columns = adopted_columns(rows.frame, result.columns, kinds, result.required)
    block = None if rows.roles.time is None else BLOCK_SECONDS
    task = Classification(result.classes, costs=costs)
    return ModelContract(TableInputs(columns), task, truth="event", block_seconds=block)


def adopted_pipeline(
    rows: GoldenRows, contract: ModelContract, adopted: AdoptedModel, texts: AdoptionTexts
) -> Pipeline:
    """The pipeline that registers this graph as a version, judged on the golden rows; raises DataError."""
    inputs = contract.inputs
    if not isinstance(inputs, TableInputs):
        raise DataError(f"{texts.name} reads no table, and only models of tables can be adopted")
    split = golden_split(labelled_rows(rows.frame, inputs.columns, rows.roles, contract.classes, texts.name))
    return Pipeline(
        name=texts.name,
        title=texts.about.strip().rstrip(".") or f"{texts.name}, adopted from {texts.source}",
        contract=contract,
        load=lambda _folder: split,
        trainer=AdoptedTrainer(adopted),
        evaluation=TableEvaluation(inputs.columns),
        card=_card(texts),
        recipes={RECIPE.name: RECIPE},
        default_recipe=RECIPE.name,
    )


def golden_split(rows: Examples) -> Split:
    """Most rows judge, a fifth of the groups, else of the rows, calibrates; nothing trains. Raises DataError.

    What calibrates has no time: nobody knows until when the model's own rows went.
    """
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"the golden rows are {len(rows)}; at least {FEWEST_ROWS} are needed to judge a model, better thousands"
        )
    split = split_by_group(rows, {"validation": CALIBRATION_SHARE, "golden": 1 - CALIBRATION_SHARE})
    if not len(split.validation) or not len(split.golden):
        raise DataError(
            f"the golden rows are of {len(set(rows.groups))} groups, too few to part them in two sides; give rows of "
            "more groups, or no --group"
        )
    validation = replace(split.validation, name=f"{rows.name}/calibration", times=None)
    return replace(split, validation=validation)


def _card(texts: AdoptionTexts) -> Mapping[str, str]:
    known = {
        "intended_use": texts.about.strip() or NOT_STATED,
        "training_data": f"Not known here: the model was trained elsewhere, and adopted from {texts.source}.",
        "evaluation_data": "The golden rows that its owner gave when it was adopted.",
        "caveats": "Ranges and known categories of its columns are those of the golden rows, not of its training. That "
        "its training never saw a golden row is its owner's word.",
    }
    return {key: known.get(key, NOT_STATED) for key in CARD_KEYS}


def class_costs(texts: Sequence[str]) -> dict[tuple[str, str], float]:
    """What mistakes cost, of texts TRUTH:ANSWER=COST; raises DataError naming one that is none."""
    costs = {}
    for text in texts:
        pair, _, cost = text.rpartition("=")
        truth, _, answer = pair.partition(":")
        try:
            costs[truth, answer] = float(cost)
        except ValueError:
            raise DataError(f"{text!r} is no cost; write TRUTH:ANSWER=COST, as yes:no=5") from None
    return costs
