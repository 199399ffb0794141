"""Converts classifiers of scikit-learn to ONNX, alone, in pipelines, and with LightGBM or XGBoost inside."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from pipelines.engines.graph_check import is_text
from pipelines.engines.log_suppression import suppress_logs
from pipelines.errors import DataError
from pipelines.exports.class_order import class_positions
from pipelines.exports.graph_edit import FEATURES, to_table_graph, unused_prefix
from registry.model_contract import Column, ModelContract

OPSET: Final = {"": 19, "ai.onnx.ml": 3}
"""What graphs are written in: texts are compared since 19."""


def sklearn_graph(model: Any, contract: ModelContract, columns: Sequence[Column], *, wide: bool) -> bytes:  # noqa: ANN401
    """The fitted classifier as a table's graph; raises DataError where a part cannot be converted.

    `wide` computes what comes before the classifier in float64, as scikit-learn does, where a scaled value may lie
    exactly on the threshold of a tree.
    """
    check_classifier(model)
    _register_converters()
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = DoubleTensorType if wide else FloatTensorType
    fitted = _prepared(model, wide)
    features = [] if _takes_names(fitted) else matrix_columns(model, columns)
    types = (
        [(FEATURES, number([None, len(features)]))]
        if features
        else [(each.name, StringTensorType([None, 1]) if is_text(each) else number([None, 1])) for each in columns]
    )
    with warnings.catch_warnings(), suppress_logs("skl2onnx"):
        warnings.simplefilter("ignore")
        made = convert_sklearn(
            fitted,
            name="table",
            initial_types=types,
            final_types=[(name, None) for name in _output_names(columns)],
            options={"zipmap": False},
            target_opset=dict(OPSET),
        )
    return to_table_graph(
        made, columns, features, class_positions(model.classes_, contract.classes), len(contract.classes)
    )


def _output_names(columns: Sequence[Column]) -> tuple[str, str]:
    """What label and probabilities are called in the converted graph: as no column is."""
    prefix = unused_prefix([column.name for column in columns])
    return f"{prefix}label", f"{prefix}probabilities"


def check_classifier(model: Any) -> None:  # noqa: ANN401
    """Raise DataError unless the model is fitted and gives probabilities."""
    name = type(model).__name__
    if not hasattr(model, "predict"):
        raise DataError(f"train() gave back {model!r:.80}, which is no model; give back the fitted estimator")
    if not hasattr(model, "predict_proba"):
        raise DataError(
            f"{name} gives no probabilities (it has no predict_proba); wrap it in CalibratedClassifierCV, or choose a "
            "loss that has them, as SGDClassifier(loss='log_loss')"
        )
    if not hasattr(model, "classes_"):
        raise DataError(f"{name} is not fitted (it has no classes_); give back what fit() gave you")


def matrix_columns(model: Any, columns: Sequence[Column]) -> list[str]:  # noqa: ANN401
    """The columns of the one matrix that the model was fitted on, in its order; raises DataError for texts."""
    names = [column.name for column in columns]
    given = getattr(model, "feature_names_in_", None)
    features = names if given is None else [str(name) for name in given]
    return checked_features(features, getattr(model, "n_features_in_", len(features)), columns, type(model).__name__)


def checked_features(features: list[str], count: int, columns: Sequence[Column], model: str) -> list[str]:
    """These columns, once each is known to be one of numbers; `count` is how many the model takes."""
    by_name = {column.name: column for column in columns}
    if unknown := [name for name in features if name not in by_name]:
        raise DataError(
            f"{model} was fitted on {unknown[0]!r}, which is no column of the contract; fit it on context.x as it is"
        )
    if count != len(features):
        raise DataError(
            f"{model} was fitted on {count} numbers a row, and the contract has {len(features)} columns; put what "
            "makes them into a scikit-learn Pipeline with the model"
        )
    if texts := [name for name in features if is_text(by_name[name])]:
        raise DataError(
            f"{model} takes numbers, and the column {texts[0]!r} has texts; put an encoder before it in a scikit-learn "
            "Pipeline, with a ColumnTransformer"
        )
    return features


def _takes_names(model: Any) -> bool:  # noqa: ANN401
    """Whether the columns are told apart by name or place: there is a ColumnTransformer where rows come in."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if isinstance(model, ColumnTransformer):
        return True
    if isinstance(model, Pipeline):
        return _takes_names(model.steps[0][1])
    return any(_takes_names(part) for part in _parts(model))


def _parts(model: Any) -> Iterator[Any]:  # noqa: ANN401
    """The fitted models inside a composite one."""
    for name in ("estimator_", "best_estimator_", "calibrated_classifiers_", "estimators_", "final_estimator_"):
        held = vars(model).get(name, ()) if hasattr(model, "__dict__") else ()
        for part in held if isinstance(held, list | tuple) else [held]:
            if hasattr(part, "predict") or hasattr(part, "transform"):
                yield part
            elif name == "calibrated_classifiers_":
                yield part.estimator


def _prepared(model: Any, wide: bool) -> Any:  # noqa: ANN401
    """A copy that converts: a search is its best model, votes are not flattened, and float64 ends at the classifier."""
    from skl2onnx.sklapi import CastTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.pipeline import Pipeline

    fitted = copy.deepcopy(getattr(model, "best_estimator_", model))
    waiting = [fitted]
    while waiting:
        part = waiting.pop()
        if isinstance(part, VotingClassifier):
            if part.voting != "soft":
                raise DataError("VotingClassifier(voting='hard') gives no probabilities; use voting='soft'")
            part.flatten_transform = False  # of transform() alone, which is not exported
        _take_empty_texts(part)
        if type(part).__module__.startswith("xgboost."):
            part.get_booster().feature_names = None  # the converter knows f0, f1, … alone
        if isinstance(part, Pipeline):
            last = part.steps[-1][1]
            if wide and hasattr(last, "predict") and not isinstance(last, HistGradientBoostingClassifier):
                part.steps.insert(len(part.steps) - 1, ("narrow", CastTransformer(dtype=np.float32)))
            waiting += [step for _, step in part.steps if hasattr(step, "__dict__")]
        waiting += _parts(part)
        waiting += [step for _, step, _ in getattr(part, "transformers_", ()) if hasattr(step, "__dict__")]
    return fitted


def _take_empty_texts(part: Any) -> None:  # noqa: ANN401
    """Let what was fitted on None or NaN for missing texts read the empty text, which a graph is fed instead."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    if isinstance(part, OneHotEncoder):
        part.categories_ = [
            np.array(["" if _is_missing(value) else value for value in known], dtype=object)
            if known.dtype == object and "" not in known.tolist()
            else known
            for known in part.categories_
        ]
    elif isinstance(part, SimpleImputer) and part.statistics_.dtype == object and _is_missing(part.missing_values):
        part.missing_values = ""


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _register_converters() -> None:
    """Tell skl2onnx of the converters of this package, and of those for the boosters that are installed."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as classifier_shapes
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

    from pipelines.exports import imputer_converter, neighbor_converter, tree_converters

    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "raw_scores": [True, False]}
    update_registered_converter(
        SimpleImputer, "TableSimpleImputer", imputer_converter.imputer_shapes, imputer_converter.convert_imputer
    )
    converters = {
        DecisionTreeClassifier: tree_converters.convert_tree_classifier,
        ExtraTreeClassifier: tree_converters.convert_tree_classifier,
        RandomForestClassifier: tree_converters.convert_forest_classifier,
        ExtraTreesClassifier: tree_converters.convert_forest_classifier,
        HistGradientBoostingClassifier: tree_converters.convert_histogram_boosting,
        KNeighborsClassifier: neighbor_converter.convert_neighbors,
        **_booster_converters(),
    }
    for kind, converter in converters.items():
        update_registered_converter(kind, f"Table{kind.__name__}", classifier_shapes, converter, options=options)


def _booster_converters() -> dict[Any, Any]:
    """The classifiers of LightGBM and XGBoost, where they and their converters are installed."""
    found: dict[Any, Any] = {}
    try:
        from lightgbm import LGBMClassifier
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        found[LGBMClassifier] = convert_lightgbm
    except ImportError:
        pass
    try:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier

        found[XGBClassifier] = convert_xgboost
    except ImportError:
        pass
    return found
