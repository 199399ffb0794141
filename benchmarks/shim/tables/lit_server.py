"""The pipeline behind LitServe: python lit_server.py PORT, in this folder."""

import sys
from typing import Any

import litserve
import pandas as pd
from classifier import NAMES, NUMBERS, fitted


class Table(litserve.LitAPI):  # type: ignore[misc]
    """One worker, as each of the others has."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own name
        self.model = fitted()

    def decode_request(self, request: dict[str, Any]) -> pd.DataFrame:
        return pd.DataFrame(request["rows"], columns=NUMBERS + NAMES)

    def predict(self, rows: pd.DataFrame) -> Any:  # noqa: ANN401
        return self.model.predict_proba(rows)

    def encode_response(self, answer: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"probabilities": answer.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Table(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
