"""Converts scikit-learn's decision trees, forests and histogram-based boosting, for skl2onnx.

Its own converters lose where a tree sends missing values, and know no histogram-based boosting since scikit-learn 1.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipelines.engines.graph_check import ML_DOMAIN
from pipelines.errors import DataError

TREE_OPSET = 3


@dataclass(frozen=True, eq=False)
class Tree:
    """A decision tree as arrays by node: a row goes left where its feature is at most the threshold, or is missing and
    `missing_left` says so. `values` (nodes, outputs) are read at leaves; there, `left` is negative."""

    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: NDArray[Any]
    values: NDArray[np.float64]


def convert_tree_classifier(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401 - skl2onnx has no types
    """DecisionTreeClassifier and ExtraTreeClassifier: the shares of the classes at the leaf."""
    model = operator.raw_operator
    ensemble = _add_trees(scope, operator, container, [_sklearn_tree(model, 1)], len(model.classes_))
    add_answers(scope, operator, container, ensemble)


def convert_forest_classifier(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """RandomForestClassifier and ExtraTreesClassifier: the mean over the trees."""
    model = operator.raw_operator
    trees = (_sklearn_tree(tree, len(model.estimators_)) for tree in model.estimators_)
    ensemble = _add_trees(scope, operator, container, trees, len(model.classes_))
    add_answers(scope, operator, container, ensemble)


def convert_histogram_boosting(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """HistGradientBoostingClassifier: the sum of its trees, and the link of its loss."""
    model = operator.raw_operator
    if any(model.is_categorical_ if model.is_categorical_ is not None else ()):
        raise DataError(
            "HistGradientBoostingClassifier with categorical_features cannot be exported: its splits are sets of "
            "categories; encode them before it, with a OneHotEncoder or an OrdinalEncoder"
        )
    baseline = model._baseline_prediction.ravel()
    trees = [
        _histogram_tree(predictor.nodes, output, len(baseline))
        for iteration in model._predictors
        for output, predictor in enumerate(iteration)
    ]
    wide = "Double" in type(operator.inputs[0].type).__name__  # as it compares: its thresholds may be values of rows
    raw = _add_trees(scope, operator, container, trees, len(baseline), baseline, wide=wide)
    probabilities = scope.get_unique_variable_name("boosted")
    if len(baseline) > 1:
        container.add_node("Softmax", [raw], [probabilities], name=scope.get_unique_operator_name("Softmax"), axis=1)
    else:
        one, positive, negative = (scope.get_unique_variable_name(name) for name in ("one", "positive", "negative"))
        container.add_initializer(one, TensorProto.FLOAT, [1], [1.0])
        container.add_node("Sigmoid", [raw], [positive], name=scope.get_unique_operator_name("Sigmoid"))
        container.add_node("Sub", [one, positive], [negative], name=scope.get_unique_operator_name("Sub"))
        container.add_node(
            "Concat", [negative, positive], [probabilities], name=scope.get_unique_operator_name("Concat"), axis=1
        )
    add_answers(scope, operator, container, probabilities)


def _sklearn_tree(model: Any, trees: int) -> Tree:  # noqa: ANN401
    tree = model.tree_
    if tree.n_outputs != 1:
        raise DataError(f"{type(model).__name__} was fitted on {tree.n_outputs} targets; fit it on one")
    values = tree.value[:, 0, :]
    shares = values / values.sum(axis=1, keepdims=True)
    return Tree(
        tree.feature, tree.threshold, tree.children_left, tree.children_right, tree.missing_go_to_left, shares / trees
    )


def _histogram_tree(nodes: NDArray[Any], output: int, outputs: int) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    values = np.zeros((len(nodes), outputs))
    values[:, output] = nodes["value"]
    return Tree(
        nodes["feature_idx"],
        nodes["num_threshold"],
        np.where(leaf, -1, nodes["left"].astype(np.int64)),
        np.where(leaf, -1, nodes["right"].astype(np.int64)),
        nodes["missing_go_to_left"],
        values,
    )


def _add_trees(
    scope: Any,  # noqa: ANN401
    operator: Any,  # noqa: ANN401
    container: Any,  # noqa: ANN401
    trees: Iterable[Tree],
    outputs: int,
    base: Sequence[float] | None = None,
    *,
    wide: bool = False,
) -> str:
    """Adds the sum of the trees' leaves (n, outputs) and returns its name; leaves that are 0 are not written."""
    nodes: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    missing: list[int] = []
    targets: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(trees):
        leaf, count = tree.left < 0, len(tree.left)
        nodes["treeids"] += [number] * count
        nodes["nodeids"] += range(count)
        nodes["featureids"] += np.where(leaf, 0, tree.feature).tolist()
        nodes["values"] += np.where(leaf, 0.0, tree.threshold if wide else round_down(tree.threshold)).tolist()
        nodes["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        nodes["truenodeids"] += np.where(leaf, 0, tree.left).tolist()
        nodes["falsenodeids"] += np.where(leaf, 0, tree.right).tolist()
        missing += np.where(leaf, 0, tree.missing_left).astype(int).tolist()
        places, ids = np.nonzero((tree.values != 0.0) & leaf[:, None])
        empty = np.flatnonzero(leaf & ~(tree.values != 0.0).any(axis=1))  # each leaf needs a weight
        places, ids = np.concatenate([places, empty]), np.concatenate([ids, np.zeros_like(empty)])
        targets["treeids"] += [number] * len(places)
        targets["nodeids"] += places.tolist()
        targets["ids"] += ids.tolist()
        targets["weights"] += tree.values[places, ids].tolist()
    summed = scope.get_unique_variable_name("trees")
    numbers: dict[str, Any] = {"nodes_values": nodes.pop("values"), "target_weights": targets.pop("weights")}
    if base is not None:
        numbers["base_values"] = [float(value) for value in base]
    if wide:
        numbers = {
            f"{name}_as_tensor": helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
            for name, values in numbers.items()
        }
    container.add_node(
        "TreeEnsembleRegressor",
        [operator.inputs[0].full_name if wide else _float_input(scope, operator, container)],
        [summed],
        name=scope.get_unique_operator_name("TreeEnsembleRegressor"),
        op_domain=ML_DOMAIN,
        op_version=TREE_OPSET,
        n_targets=outputs,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_missing_value_tracks_true=missing,
        **numbers,
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in targets.items()},
    )
    return str(summed)


def _float_input(scope: Any, operator: Any, container: Any) -> str:  # noqa: ANN401
    """The input as float32, which is what scikit-learn's trees compare as well."""
    wide, given = operator.inputs[0].full_name, scope.get_unique_variable_name("narrow")
    container.add_node("Cast", [wide], [given], name=scope.get_unique_operator_name("Cast"), to=TensorProto.FLOAT)
    return str(given)


def add_answers(scope: Any, operator: Any, container: Any, probabilities: str) -> None:  # noqa: ANN401
    """Connects both outputs of a classifier: the probabilities, and the label that is most probable."""
    classes = operator.raw_operator.classes_
    texts = classes.dtype.kind in "OU"
    names, best = scope.get_unique_variable_name("classes"), scope.get_unique_variable_name("best")
    container.add_initializer(
        names,
        TensorProto.STRING if texts else TensorProto.INT64,
        [len(classes)],
        [str(name).encode() for name in classes] if texts else [int(name) for name in classes],
    )
    container.add_node(
        "ArgMax", [probabilities], [best], name=scope.get_unique_operator_name("ArgMax"), axis=1, keepdims=0
    )
    picked = scope.get_unique_variable_name("picked")
    container.add_node(
        "ArrayFeatureExtractor",
        [names, best],
        [picked],
        name=scope.get_unique_operator_name("ArrayFeatureExtractor"),
        op_domain=ML_DOMAIN,
    )
    shape = scope.get_unique_variable_name("shape")
    container.add_initializer(shape, TensorProto.INT64, [1], [-1])
    container.add_node(
        "Reshape",
        [picked, shape],
        [operator.outputs[0].full_name],
        name=scope.get_unique_operator_name("Reshape"),
    )
    container.add_node(
        "Identity",
        [probabilities],
        [operator.outputs[1].full_name],
        name=scope.get_unique_operator_name("Identity"),
    )


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: a float32 is at most the one exactly where it is at most the other."""
    rounded = thresholds.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded.astype(np.float64) > thresholds, below, rounded)
