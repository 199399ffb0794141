"""A pipeline of a table without torch: who comes back, by age and plan, by a logistic regression made with NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipelines.batch import Batch
from pipelines.data import Examples, FeedbackRows, Split
from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.evaluation.table_evaluation import TableEvaluation
from pipelines.inputs.table_codec import TableCodec
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.trainer import TrainedModel, TrainingRequest
from registry.model_contract import Column, ModelContract, TableInputs
from registry.model_package import OnnxFile
from registry.prediction_task import Classification

COLUMNS = (Column("age", "number"), Column("plan", "category", known=("free", "gold")))
CONTRACT = ModelContract(TableInputs(COLUMNS), Classification(("no", "yes")), truth="event")
CODEC = TableCodec(COLUMNS)
STEPS, RATE = 400, 1.0


def draw_visits(count: int, seed: int, name: str = "visits", *, flipped: bool = False) -> Examples:
    """People of few ages and two plans, so that many rows are equal; the older and those of gold come back."""
    generator = np.random.default_rng(seed)
    ages = generator.integers(20, 70, count).astype(np.float64)
    plans = generator.choice(np.array(["free", "gold"], dtype=object), count)
    score = (ages - 45) / 4 + np.where(plans == "gold", 4.0, -4.0)
    labels = (score + generator.logistic(0, 0.4, count) > 0).astype(np.int64)
    return Examples(
        Batch({"age": ages, "plan": plans}),
        1 - labels if flipped else labels,
        name,
        CODEC.rows,
        groups=tuple(f"{name} {row // 2}" for row in range(count)),
        times=np.arange(count, dtype=np.float64),
        keys=tuple(f"{name}/{row}" for row in range(count)),
    )


def visits_feedback(rows: Examples) -> FeedbackRows:
    """The rows as answers of weeks later with their outcomes, one id each."""
    ids = tuple(f"feedback-{row}" for row in range(len(rows)))
    times = None if rows.times is None else rows.times + 2_000_000.0
    return FeedbackRows(
        rows.batch, rows.labels, "feedback", rows.canonical, ids, groups=rows.groups, keys=rows.keys, times=times
    )


@dataclass(frozen=True)
class LogisticTrainer:
    """Steps down the gradient of the weighted loss; `asked` keeps each request."""

    asked: list[TrainingRequest] = field(default_factory=list)

    def train(self, request: TrainingRequest) -> TrainedModel:
        """A graph of the two columns."""
        self.asked.append(request)
        features = _features(request.rows.batch)
        weights = np.zeros(features.shape[1])
        for _ in range(STEPS):
            chance = 1 / (1 + np.exp(-features @ weights))
            weights -= RATE * features.T @ ((chance - request.rows.labels) * request.weights) / len(features)
        request.log_params({"steps": STEPS})
        request.log_metrics({"rows": float(len(features))}, 0)
        content = logistic_graph(weights)
        return TrainedModel(
            engine=table_engine_from_bytes(content, request.contract, threads=1),
            size_bytes=len(content),
            seconds=0.1,
            files=lambda _batch, _answers: OnnxFile(content),
            packages=("numpy",),
            model_details={"Model": "logistic regression of 3 weights"},
        )


def visits_pipeline(split: Split) -> Pipeline:
    """The pipeline with these sides; it names no recipe."""
    return Pipeline(
        name="visits",
        title="Visits",
        contract=CONTRACT,
        load=lambda _folder: split,
        trainer=LogisticTrainer(),
        evaluation=TableEvaluation(COLUMNS),
        card={key: f"About {key.replace('_', ' ')}." for key in CARD_KEYS},
    )


def visits_split() -> Split:
    """Sides that share no person, though many of their rows are equal."""
    sizes: Mapping[str, int] = {"train": 300, "validation": 60, "golden": 400, "stream": 40}
    return Split(**{name: draw_visits(size, seed, name) for seed, (name, size) in enumerate(sizes.items())})


def _features(batch: Batch) -> NDArray[np.float64]:
    return np.stack([batch.array("age") / 10 - 4.5, batch.array("plan") == "gold", np.ones(len(batch))], axis=1)


def logistic_graph(weights: NDArray[np.float64]) -> bytes:
    """Softmax of zero and the weighted sum; a missing age counts as 45, an unknown plan as free."""
    by_age = np.array([[0.0, weights[0] / 10]], dtype=np.float32)
    by_plan = np.array([[0.0, weights[1]]], dtype=np.float32)
    offset = np.array([[0.0, weights[2] - 4.5 * weights[0]]], dtype=np.float32)
    ml = "ai.onnx.ml"
    nodes = [
        helper.make_node(
            "Imputer", ["age"], ["years"], domain=ml, imputed_value_floats=[45.0], replaced_value_float=float("nan")
        ),
        helper.make_node(
            "LabelEncoder", ["plan"], ["gold"], domain=ml, keys_strings=["gold"], values_floats=[1.0], default_float=0.0
        ),
        helper.make_node("MatMul", ["years", "by_age"], ["first"]),
        helper.make_node("MatMul", ["gold", "by_plan"], ["second"]),
        helper.make_node("Add", ["first", "second"], ["sum"]),
        helper.make_node("Add", ["sum", "offset"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    kinds = {"age": TensorProto.FLOAT, "plan": TensorProto.STRING}
    inputs = [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    numbers = {"by_age": by_age, "by_plan": by_plan, "offset": offset}
    held = [numpy_helper.from_array(values, name) for name, values in numbers.items()]
    graph = helper.make_graph(nodes, "visits", inputs, [output], held)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ml, 3)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return content
