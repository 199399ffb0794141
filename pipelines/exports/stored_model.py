"""Opens a fitted model from the file in which a library stored it; a pickle runs code, so the caller isolates this."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.errors import DataError, ModelFormatError

TRUSTED_TYPES: Final = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance32",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
    }
)
"""What a skops file may hold beside what skops itself trusts; a file's own list of such types is not believed."""
MODULES: Final[Mapping[str, str]] = {"sklearn": "scikit-learn"}
"""How pip calls the package of a module, where that is another name."""


def open_stored_model(path: Path, stored: str, *, classifier: bool = False) -> Any:  # noqa: ANN401 - a library's own type
    """The fitted model in this file, which is stored as `stored` says; raises ModelFormatError naming what to do.

    `classifier` tells that a file of XGBoost's holds its scikit-learn classifier.
    """
    openers: dict[str, Callable[[], Any]] = {
        "skops": lambda: _open_skops(path),
        "pickle": lambda: _open_pickle(path),
        "lightgbm": lambda: _open_lightgbm(path),
        "xgboost": lambda: _open_xgboost(path, classifier),
    }
    if stored not in openers:
        raise ModelFormatError(f"a model stored as {stored!r} cannot be opened; known: {', '.join(openers)}")
    try:
        return openers[stored]()
    except (DataError, ModelFormatError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        module = str(error.name or "").partition(".")[0]
        raise ModelFormatError(
            f"the model needs the module {error.name!r}, which is not installed here; pip install "
            f"{MODULES.get(module, module)}, in the version that the model's requirements.txt names"
        ) from error
    except Exception as error:  # whatever libraries, or a pickle's code, raise
        raise ModelFormatError(
            f"{path.name} cannot be opened ({type(error).__name__}: {str(error)[:300]}); it was written by other "
            "versions of its libraries, or is damaged: install those that its requirements.txt names, or log it again"
        ) from error


def _open_skops(path: Path) -> Any:  # noqa: ANN401
    from skops.io import get_untrusted_types, load

    asked = set(get_untrusted_types(file=path))
    if unknown := sorted(asked - TRUSTED_TYPES):
        raise ModelFormatError(
            f"the skops file asks for the type {unknown[0]}, which is not on the list of those that hold no code; "
            "where you trust it, log the model as a pickle and adopt that with --run-its-code"
        )
    return load(path, trusted=sorted(asked))


def _open_pickle(path: Path) -> Any:  # noqa: ANN401
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(0)
        if start[:1] == b"\x80":
            try:
                return pickle.load(file)  # noqa: S301 - isolated, and only where that was asked for
            except pickle.UnpicklingError:
                pass
    import joblib  # joblib keeps arrays beside the pickle, and may compress all of it

    return joblib.load(path)


def _open_lightgbm(path: Path) -> Any:  # noqa: ANN401
    import lightgbm

    return lightgbm.Booster(model_file=str(path))


def _open_xgboost(path: Path, classifier: bool) -> Any:  # noqa: ANN401
    import xgboost

    model = xgboost.XGBClassifier() if classifier else xgboost.Booster()
    model.load_model(str(path))
    return model
