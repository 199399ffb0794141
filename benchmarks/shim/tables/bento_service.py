"""The pipeline behind BentoML: bentoml serve bento_service:Table, in this folder."""

from typing import Any

import bentoml
import pandas as pd
from classifier import NAMES, NUMBERS, fitted


@bentoml.service(workers=1, traffic={"timeout": 30})
class Table:
    """One worker, as each of the others has."""

    def __init__(self) -> None:
        self.model = fitted()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[dict[str, Any]]) -> list[list[float]]:
        """Probabilities of the rows."""
        answer: list[list[float]] = self.model.predict_proba(pd.DataFrame(rows, columns=NUMBERS + NAMES)).tolist()
        return answer
