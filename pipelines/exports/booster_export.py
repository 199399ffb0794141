"""Converts boosters of LightGBM and XGBoost, and their scikit-learn classifiers, to ONNX."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.engines.log_suppression import suppress_logs
from pipelines.errors import DataError
from pipelines.exports.graph_edit import FEATURES, to_table_graph
from pipelines.exports.sklearn_export import checked_features
from registry.model_contract import Column, ModelContract

BOOSTER_OPSET = 15
"""The newest that onnxmltools 1.16 writes."""


def is_booster(model: object) -> bool:
    """Whether this is a booster of LightGBM or XGBoost, without importing either."""
    kind = type(model)
    return kind.__name__ == "Booster" and kind.__module__.partition(".")[0] in ("lightgbm", "xgboost")


def booster_graph(booster: Any, contract: ModelContract, columns: Sequence[Column]) -> bytes:  # noqa: ANN401
    """The booster as a table's graph; raises DataError where it answers no probabilities of the contract's classes."""
    library = type(booster).__module__.partition(".")[0]
    names = own_features(booster)
    count = booster.num_feature() if library == "lightgbm" else booster.num_features()
    known = {column.name for column in columns}
    unnamed = not names or (not known.intersection(names) and len(names) == len(columns))
    features = checked_features(
        [column.name for column in columns] if unnamed else list(names), count, columns, f"the {library} booster"
    )
    outputs = output_count(booster)
    if outputs != len(contract.classes):
        raise DataError(
            f"the {library} booster answers {outputs} classes, and the contract has {len(contract.classes)}; "
            "train it on context.codes with that many classes"
        )
    with warnings.catch_warnings(), suppress_logs("onnxmltools"):
        warnings.simplefilter("ignore")
        made = _converted(booster, library, len(features))
    return to_table_graph(made, columns, features, range(outputs), outputs)


def booster_probabilities(booster: Any, frame: pd.DataFrame) -> NDArray[np.float64]:  # noqa: ANN401
    """What the booster itself answers (n, classes)."""
    if type(booster).__module__.startswith("lightgbm"):
        answers = np.asarray(booster.predict(frame[_own_names(booster.feature_name(), frame)]))
    else:
        import xgboost

        named = frame[_own_names(booster.feature_names or [], frame)]
        data = xgboost.DMatrix(named if booster.feature_names else named.to_numpy())
        answers = np.asarray(booster.predict(data))
    whole: NDArray[np.float64] = np.column_stack([1.0 - answers, answers]) if answers.ndim == 1 else answers
    return whole.astype(np.float64)


def _own_names(names: Sequence[str], frame: pd.DataFrame) -> list[str]:
    return list(names) if set(names) & set(frame.columns) else list(frame.columns)


def own_features(booster: Any) -> list[str]:  # noqa: ANN401
    """The columns that a booster names, in its order; none where it names none."""
    named = booster.feature_name() if type(booster).__module__.startswith("lightgbm") else booster.feature_names
    return [str(name) for name in named or ()]


def output_count(booster: Any) -> int:  # noqa: ANN401
    """How many classes a booster gives a probability of; raises DataError where it gives none."""
    library = type(booster).__module__.partition(".")[0]
    if library == "lightgbm":
        objective = str(booster.dump_model(num_iteration=1).get("objective", "none")).split(" ")[0]
        fitting: tuple[str, ...] = ("binary", "multiclass", "multiclassova")
        count = booster.num_model_per_iteration()
    else:
        learner = json.loads(booster.save_config())["learner"]
        objective = learner["objective"]["name"]
        fitting = ("binary:logistic", "multi:softprob")
        count = int(learner["learner_model_param"]["num_class"])
    if objective not in fitting:
        raise DataError(
            f"the {library} booster was trained for {objective!r}, which gives no probabilities; use "
            f"{' or '.join(fitting)}"
        )
    return max(int(count), 2)


def _converted(booster: Any, library: str, count: int) -> Any:  # noqa: ANN401
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [(FEATURES, FloatTensorType([None, count]))]
    if library == "lightgbm":
        return convert_lightgbm(booster, "table", types, target_opset=BOOSTER_OPSET, zipmap=False)
    unnamed = copy.copy(booster)
    unnamed.feature_names = None  # the converter knows f0, f1, … alone
    return convert_xgboost(unnamed, "table", types, target_opset=BOOSTER_OPSET)
