"""The network as an MLflow model from code, for `mlflow models serve`."""

from typing import Any

import mlflow.pyfunc
from mlflow.models import set_model


class Digits(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Loads its session where it is served."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401, ARG002
        from session import Session  # beside this file, where the server is started

        self.session = Session()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ANN401, ARG002
        return self.session(model_input)


set_model(Digits())
