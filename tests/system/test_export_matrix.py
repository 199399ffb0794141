"""Every estimator that is said to be exported answers as a graph what it answers itself; others say why they cannot."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from pipelines.errors import DataError
from pipelines.exports.export_model import ExportedModel, export_classifier
from pipelines.exports.frames import model_frame
from registry.model_contract import ModelContract, TableInputs
from registry.prediction_task import Classification
from tests.support.customers import CLASSES, CONTRACT, NUMBERS, TEXTS, customers

pytestmark = pytest.mark.slow

ROWS, LEFT = customers(1200, seed=1)
JUDGED, _ = customers(2000, seed=2, unseen=True)
COLUMNS = CONTRACT.inputs.columns  # type: ignore[union-attr]
X = model_frame(ROWS, COLUMNS)
CODES = np.array([CLASSES.index(name) for name in LEFT])
NUMERIC, NAMES = list(NUMBERS), list(TEXTS)


def _standard(*, sparse_output: bool = True) -> BaseEstimator:
    """Medians and scales of the numbers, and an indicator for each category."""
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMERIC),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=sparse_output), NAMES),
    )


def _missing_kept() -> BaseEstimator:
    """The numbers as they are, missing ones among them."""
    return make_column_transformer(
        ("passthrough", NUMERIC), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), NAMES)
    )


def _positive() -> BaseEstimator:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), MinMaxScaler(clip=True)), NUMERIC),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
    )


ESTIMATORS: dict[str, BaseEstimator] = {
    "LogisticRegression": LogisticRegression(max_iter=500),
    "LogisticRegressionCV": LogisticRegressionCV(max_iter=500, use_legacy_attributes=False, l1_ratios=(0.0,)),
    "SGDClassifier(log_loss)": SGDClassifier(loss="log_loss", random_state=0),
    "DecisionTree": DecisionTreeClassifier(max_depth=8, random_state=0),
    "ExtraTree": ExtraTreeClassifier(max_depth=8, random_state=0),
    "RandomForest": RandomForestClassifier(30, random_state=0),
    "ExtraTrees": ExtraTreesClassifier(30, random_state=0),
    "GradientBoosting": GradientBoostingClassifier(n_estimators=30, random_state=0),
    "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=30, random_state=0),
    "KNeighbors": KNeighborsClassifier(),
    "GaussianNB": GaussianNB(),
    "BernoulliNB": BernoulliNB(),
    "MLP": MLPClassifier((20,), max_iter=400, tol=1e-2, random_state=0),
    "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis(),
    "QuadraticDiscriminantAnalysis": QuadraticDiscriminantAnalysis(reg_param=0.1),
    "Calibrated SVC": CalibratedClassifierCV(SVC(), ensemble=False),
    "Calibrated NuSVC": CalibratedClassifierCV(NuSVC(nu=0.2), ensemble=False),
    "Calibrated LinearSVC": CalibratedClassifierCV(LinearSVC()),
    "Calibrated RidgeClassifier": CalibratedClassifierCV(RidgeClassifier()),
    "Calibrated Perceptron": CalibratedClassifierCV(Perceptron()),
    "Calibrated RandomForest, isotonic": CalibratedClassifierCV(
        RandomForestClassifier(20, random_state=0), method="isotonic"
    ),
    "AdaBoost": AdaBoostClassifier(random_state=0),
    "Bagging": BaggingClassifier(DecisionTreeClassifier(max_depth=6), random_state=0),
    "Voting": VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
    "Stacking": StackingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(20, random_state=0))]),
    "LightGBM": lightgbm.LGBMClassifier(n_estimators=30, verbose=-1, n_jobs=1),
    "XGBoost": xgboost.XGBClassifier(n_estimators=30, n_jobs=1),
}
MISSING_VALUES: dict[str, BaseEstimator] = {
    name: ESTIMATORS[name]
    for name in ("DecisionTree", "RandomForest", "ExtraTrees", "HistGradientBoosting", "LightGBM", "XGBoost")
}
BINS = KBinsDiscretizer(5, encode="ordinal", quantile_method="averaged_inverted_cdf")
ENCODERS: dict[str, Callable[[], BaseEstimator]] = {
    "indicators of missing values, and ordinals": lambda: make_column_transformer(
        (SimpleImputer(strategy="median", add_indicator=True), NUMERIC),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), NAMES),
    ),
    "the most frequent category": lambda: make_column_transformer(
        (make_pipeline(SimpleImputer(), MinMaxScaler()), NUMERIC),
        (
            make_pipeline(
                SimpleImputer(missing_values="", strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
            ),
            NAMES,
        ),
    ),
    "products of robust scales": lambda: make_column_transformer(
        (make_pipeline(SimpleImputer(), RobustScaler(), PolynomialFeatures(2)), NUMERIC),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
    ),
    "powers": lambda: make_column_transformer(
        (make_pipeline(SimpleImputer(), PowerTransformer()), NUMERIC),
        (OneHotEncoder(handle_unknown="ignore", drop="if_binary"), NAMES),
    ),
    "quantiles": lambda: make_column_transformer(
        (make_pipeline(SimpleImputer(), QuantileTransformer(n_quantiles=20)), NUMERIC),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
    ),
    "bins": lambda: make_column_transformer(
        (make_pipeline(SimpleImputer(), BINS), NUMERIC), (OneHotEncoder(handle_unknown="ignore"), NAMES)
    ),
}


def _fitted(model: BaseEstimator, rows: pd.DataFrame = X, truths: NDArray[np.object_] = LEFT) -> BaseEstimator:
    final = model.steps[-1][1] if isinstance(model, Pipeline) else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what estimators think of the data
        return model.fit(rows, CODES if isinstance(final, xgboost.XGBClassifier) else truths)


def _answers_alike(model: object, contract: ModelContract = CONTRACT) -> ExportedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = export_classifier(model, contract, JUDGED)
    assert exported.fidelity.rows == 2000
    assert exported.fidelity.different_answers <= 2, exported.fidelity.to_sentence()
    return exported


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_graph_answers_as_the_estimator(name: str) -> None:
    exported = _answers_alike(_fitted(make_pipeline(_standard(sparse_output=False), ESTIMATORS[name])))
    assert exported.fidelity.largest_difference < 0.01


def test_counts_are_exported() -> None:
    _answers_alike(_fitted(make_pipeline(_positive(), MultinomialNB())))


@pytest.mark.parametrize("name", MISSING_VALUES)
def test_missing_numbers_go_where_the_trees_send_them(name: str) -> None:
    exported = _answers_alike(_fitted(make_pipeline(_missing_kept(), MISSING_VALUES[name])))
    assert exported.fidelity.largest_difference < 1e-3


@pytest.mark.parametrize("name", MISSING_VALUES)
def test_a_model_of_numbers_alone_needs_no_column_transformer(name: str) -> None:
    _answers_alike(_fitted(MISSING_VALUES[name], X[NUMERIC]))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("final", ["RandomForest", "LightGBM"])
def test_what_comes_before_the_estimator_is_exported_with_it(name: str, final: str) -> None:
    _answers_alike(_fitted(make_pipeline(ENCODERS[name](), ESTIMATORS[final])))


def test_a_search_is_its_best_model() -> None:
    search = GridSearchCV(make_pipeline(_standard(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]})
    _answers_alike(_fitted(search))


def test_votes_of_pipelines_are_exported() -> None:
    votes = VotingClassifier(
        [
            ("a", make_pipeline(_standard(), LogisticRegression())),
            ("b", make_pipeline(_missing_kept(), HistGradientBoostingClassifier(max_iter=20))),
        ],
        voting="soft",
    )
    _answers_alike(_fitted(votes))


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_a_booster_of_lightgbm_is_exported(objective: str) -> None:
    settings = {"objective": objective, "num_class": 3, "verbose": -1, "num_threads": 1}
    _answers_alike(lightgbm.train(settings, lightgbm.Dataset(X[NUMERIC], CODES), 30))


def test_categories_of_lightgbm_are_exported() -> None:
    data = lightgbm.Dataset(X[NUMERIC].assign(age=X["age"] // 10), CODES, categorical_feature=["age"])
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    _answers_alike(lightgbm.train(settings, data, 20))


def test_a_booster_of_xgboost_is_exported() -> None:
    settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    _answers_alike(xgboost.train(settings, xgboost.DMatrix(X[NUMERIC], CODES), 30))


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_boosters_of_two_classes_give_two_probabilities(library: str) -> None:
    contract = ModelContract(TableInputs(COLUMNS), Classification(("other", "yes")), truth="event")
    yes = (LEFT == "yes").astype(int)
    booster = (
        lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X[NUMERIC], yes), 30)
        if library == "lightgbm"
        else xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(X[NUMERIC], yes), 30)
    )
    _answers_alike(booster, contract)


def test_a_histogram_booster_of_two_classes_is_exported() -> None:
    contract = ModelContract(TableInputs(COLUMNS), Classification(("yes", "other")), truth="event")
    truths = np.where(LEFT == "yes", "yes", "other")
    model = make_pipeline(_missing_kept(), HistGradientBoostingClassifier(max_iter=30, random_state=0))
    _answers_alike(_fitted(model, truths=truths), contract)


def test_a_class_that_training_never_saw_has_no_probability() -> None:
    known = LEFT != "maybe"
    model = make_pipeline(_standard(), LogisticRegression()).fit(X[known], LEFT[known])
    _answers_alike(model)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (make_pipeline(_standard(), LinearSVC()), "wrap it in CalibratedClassifierCV"),
        (make_pipeline(_standard(), SGDClassifier()), "SGDClassifier.loss='log_loss'."),
        (
            make_pipeline(_standard(), VotingClassifier([("a", LogisticRegression())], voting="hard")),
            "wrap it in CalibratedClassifierCV",
        ),
        (
            make_pipeline(_standard(), RadiusNeighborsClassifier(radius=9.0, outlier_label="no")),
            "RadiusNeighborsClassifier cannot be exported .* has a graph inside the operator Scan",
        ),
        (make_pipeline(_standard(), KNeighborsClassifier(weights="distance")), "use the Euclidean metric and weights"),
        (
            make_pipeline(_missing_kept(), HistGradientBoostingClassifier(max_iter=5, categorical_features=[3, 4])),
            "HistGradientBoostingClassifier with categorical_features cannot be exported",
        ),
        (
            CalibratedClassifierCV(make_pipeline(_standard(), LinearSVC())),
            "put a ColumnTransformer first in a Pipeline",
        ),
        (
            make_pipeline(make_column_transformer((TfidfVectorizer(), "plan")), LogisticRegression()),
            "cannot be exported as an ONNX graph",
        ),
    ],
)
def test_what_cannot_be_exported_says_why_and_what_to_do(model: BaseEstimator, reason: str) -> None:
    fitted = _fitted(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=reason):
            export_classifier(fitted, CONTRACT, JUDGED)


def test_a_sparse_matrix_whose_zeros_xgboost_takes_for_missing_is_refused() -> None:
    many = make_column_transformer(
        (SimpleImputer(), ["balance"]),
        (StandardScaler(), ["age"]),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
        sparse_threshold=1.0,
    )
    model = _fitted(make_pipeline(many, xgboost.XGBClassifier(n_estimators=20, n_jobs=1)))
    with pytest.raises(DataError, match=r"is another model: .* give it sparse_output=False"):
        _answers_alike(model)
