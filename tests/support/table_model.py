"""A tiny model of a table, whose graph is written by hand: who leaves, by age, visits, membership, plan and start."""

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from sqlalchemy import Connection

from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.store.label_rules import LabelRules, label_rules
from mlplatform.store.version_contracts import VersionContracts
from pipelines.engines.table_engine import table_engine_from_bytes
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification
from tests.support.platform_world import START, FakeCatalog

NAME = "digits"
"""As the settings of tests call their model."""
COLUMNS = (
    Column("age", "number", optional=False, low=18, high=99),
    Column("visits", "whole"),
    Column("member", "yes-no"),
    Column("plan", "category", known=("gold", "free")),
    Column("note", "text"),
    Column("since", "time"),
)
CONTRACT = ModelContract(TableInputs(COLUMNS), Classification(("no", "yes")), truth="event")
NUMBERS = ModelContract(
    TableInputs((Column("a", "number"), Column("b", "number"))), Classification(("no", "yes")), truth="event"
)
ROW: dict[str, Any] = {"age": 41, "visits": 3, "member": True, "plan": "gold", "note": "calls: often", "since": 0.5}


def graph(contract: ModelContract = CONTRACT) -> bytes:
    """Scores by the first column, a missing one as 0; a plan of gold stays; other columns weigh nothing."""
    columns = contract.inputs.columns  # type: ignore[union-attr]  # of a table
    numbers = [column.name for column in columns if column.kind not in ("category", "text")]
    texts = [column.name for column in columns if column.name not in numbers]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in numbers]
    inputs += [helper.make_tensor_value_info(name, TensorProto.STRING, [None, 1]) for name in texts]
    nodes = [helper.make_node("Concat", numbers, ["all"], axis=1)]
    nodes.append(helper.make_node("Imputer", ["all"], ["filled"], domain="ai.onnx.ml",
                                  imputed_value_floats=[0.0], replaced_value_float=float("nan")))  # fmt: skip
    weights = np.zeros((len(numbers), 2), dtype=np.float32)
    weights[0] = (0.1, -0.1)
    nodes.append(helper.make_node("MatMul", ["filled", "weights"], ["scores"]))
    total = "scores"
    for name in texts:
        nodes.append(helper.make_node("LabelEncoder", [name], [f"{name} code"], domain="ai.onnx.ml",
                                      keys_strings=["gold"], values_floats=[3.0], default_float=0.0))  # fmt: skip
        nodes.append(helper.make_node("Add", [total, f"{name} code"], [f"{name} total"]))
        total = f"{name} total"
    nodes.append(helper.make_node("Softmax", [total], ["probabilities"], axis=1))
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    made = helper.make_graph(nodes, "table", inputs, [output], [numpy_helper.from_array(weights, "weights")])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=9)
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def table_model(version: int = 1, contract: ModelContract = CONTRACT) -> LoadedModel:
    """A version of it, ready to answer."""
    return LoadedModel(NAME, version, table_engine_from_bytes(graph(contract), contract, threads=1), START)


class TableContracts(VersionContracts):
    """The contracts of a registry in which every version has the same one."""

    def __init__(self, contract: ModelContract = CONTRACT) -> None:
        super().__init__(FakeCatalog)
        self.contract = contract

    def of(self, connection: Connection, model: str, version: int) -> ModelContract:
        return self.contract

    def label_rules(self, connection: Connection, model: str) -> LabelRules:
        return label_rules([self.contract.task])
