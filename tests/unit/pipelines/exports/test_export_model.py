"""An exported graph has the contract's columns and classes, whatever they are named, and says how alike it answers."""

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from pipelines.batch import Batch
from pipelines.engines.graph_check import check_table_graph
from pipelines.errors import DataError
from pipelines.exports.export_model import compare_answers, export_classifier, graph_probabilities
from pipelines.exports.frames import model_frame
from pipelines.exports.tree_converters import round_down
from registry.model_contract import Column, ModelContract, TableInputs, image_classifier
from registry.prediction_task import Classification
from tests.support.customers import CONTRACT, customers

ODD = ModelContract(
    TableInputs((Column("probabilities", "number"), Column("table:label", "category"), Column("never used", "time"))),
    Classification(("yes", "no")),
    truth="event",
)


def _odd_rows(count: int) -> tuple[Batch, np.ndarray[tuple[int], np.dtype[np.object_]]]:
    rng = np.random.default_rng(3)
    number, texts = rng.normal(size=count), np.array(["a", "b", None], dtype=object)[rng.integers(0, 3, count)]
    truths = np.where(number + (texts == "a") > 0.5, "yes", "no").astype(object)
    return Batch({"probabilities": number, "table:label": texts, "never used": np.full(count, np.nan)}), truths


def test_columns_may_be_named_as_anything_and_every_one_is_an_input() -> None:
    rows, truths = _odd_rows(300)
    frame = model_frame(rows, ODD.inputs.columns)  # type: ignore[union-attr]
    encoder = make_column_transformer((OneHotEncoder(), ["table:label"]), ("passthrough", ["probabilities"]))
    exported = export_classifier(make_pipeline(encoder, LogisticRegression()).fit(frame, truths), ODD, rows)
    check_table_graph(exported.content, ODD)
    assert (exported.fidelity.rows, exported.fidelity.different_answers) == (300, 0)
    graph = onnx.load_model_from_string(exported.content).graph
    assert [value.name for value in graph.input] == ["probabilities", "table:label", "never used"]


def test_probabilities_are_in_the_contracts_order_and_sum_to_one() -> None:
    rows, truths = _odd_rows(300)
    frame = model_frame(rows, ODD.inputs.columns)  # type: ignore[union-attr]
    model = DecisionTreeClassifier(max_depth=3).fit(frame[["probabilities"]], truths)
    answers = graph_probabilities(export_classifier(model, ODD, rows).content, ODD, rows)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(answers[:, 0], model.predict_proba(frame[["probabilities"]])[:, 1], atol=1e-6)


def test_the_same_model_is_exported_to_the_same_bytes() -> None:
    rows, truths = customers(200, seed=1)
    frame = model_frame(rows, CONTRACT.inputs.columns)[["age"]]  # type: ignore[union-attr]
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(frame, truths)
    assert export_classifier(model, CONTRACT, rows).content == export_classifier(model, CONTRACT, rows).content


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, "train.. gave back None, which is no model"),
        (LogisticRegression(), "is not fitted"),
        (
            LogisticRegression().fit(np.zeros((4, 2)), ["no", "yes", "no", "yes"]),
            "fitted on 2 numbers a row, and the contract has 5 columns",
        ),
        (LogisticRegression().fit(np.zeros((4, 5)), ["no", "yes", "no", "yes"]), "the column 'plan' has texts"),
        (LogisticRegression().fit(pd.DataFrame({"age": [1.0, 2.0]}), ["a", "b"]), "learnt the class 'a'"),
    ],
)
def test_what_is_no_classifier_of_these_columns_is_refused(model: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        export_classifier(model, CONTRACT, customers(20, seed=1)[0])


def test_a_model_of_pictures_is_no_table() -> None:
    with pytest.raises(DataError, match="reads rows of a table"):
        export_classifier(LogisticRegression(), image_classifier(("a", "b"), 2, 2), customers(5, seed=1)[0])


def test_likeness_counts_rows_with_another_class_and_what_is_not_finite() -> None:
    expected = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    same = compare_answers(expected, expected.astype(np.float32))
    assert same.different_answers == 0
    assert same.largest_difference < 1e-6
    other = compare_answers(expected, np.array([[0.4, 0.6], [0.4, 0.6], [np.nan, 0.8]], dtype=np.float32))
    assert other.different_answers == 2
    assert other.largest_difference > 1
    assert "another class than the fitted model on 2 of 3 rows" in other.to_sentence()


def test_a_threshold_is_rounded_so_that_every_float32_keeps_its_side() -> None:
    thresholds = np.array([0.1, 0.3, 1e10 + 1, -0.1, 2.0])
    rounded = round_down(thresholds)
    assert rounded.dtype == np.float32
    for threshold, kept in zip(thresholds, rounded, strict=True):
        near = np.float32(threshold)
        for value in (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))):
            assert (float(value) <= threshold) == (value <= kept)
