"""The network behind LitServe: python lit_server.py PORT, in this folder."""

import sys
from typing import Any

import litserve
import numpy as np
from session import Session


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """One worker, as each of the others has."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own name
        self.session = Session()

    def decode_request(self, request: dict[str, Any]) -> Any:  # noqa: ANN401
        return request["images"]

    def predict(self, images: Any) -> np.ndarray:  # noqa: ANN401
        answer: np.ndarray = self.session(images)
        return answer

    def encode_response(self, answer: np.ndarray) -> dict[str, Any]:
        return {"probabilities": answer.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Digits(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
