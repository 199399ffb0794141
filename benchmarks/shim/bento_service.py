"""The network behind BentoML: bentoml serve bento_service:Digits, in this folder."""

import bentoml
import numpy as np
from session import Session


@bentoml.service(workers=1, traffic={"timeout": 30})
class Digits:
    """One worker, as each of the others has."""

    def __init__(self) -> None:
        self.session = Session()

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of the images."""
        answer: np.ndarray = self.session(images)
        return answer
