"""An example of what each endpoint takes and answers, for the OpenAPI document; no code reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

ID: Final = "01984f2a-91c3-7d20-8a11-3c6f0e9b7a55"
AT: Final = "2026-01-01T12:00:00Z"
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4XmM8wcDEwAAAA/oAzP2xlbIAAAAASUVORK5CYII="
ROWS: Final = [[0] * 28] * 28
MODEL: Final = {"name": "digits", "version": 7}
SHARES: Final = {str(digit): 0.91 if digit == 3 else 0.01 for digit in range(10)}
ANSWER: Final = {"id": ID, "label": "3", "confidence": 0.91, "probabilities": SHARES, "model": MODEL}
LABEL: Final = {"prediction_id": ID, "label": "5", "source": "audit", "reviewer": "ann", "at": AT}
ABOUT: Final = {
    "name": "digits",
    "versions": ["7"],
    "platform": "pytorch_export",
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1]}],
}
TENSOR: Final = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}
INFER: Final = {
    "id": "order-7",
    "parameters": {"client_id": "till", "tags": '{"scanner": "flatbed"}'},
    "inputs": [TENSOR],
    "outputs": [{"name": "label"}, {"name": "prediction_id"}],
}
INFERRED: Final = {
    "model_name": "digits",
    "model_version": "7",
    "id": "order-7",
    "parameters": {"latency_ms": 1.2, "recorded": True},
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["3"]},
        {"name": "prediction_id", "datatype": "BYTES", "shape": [1], "data": [ID]},
    ],
}
RETRAINING: Final = {
    "id": ID,
    "pipeline": "digits",
    "state": "running",
    "reason": "accuracy-drop fires",
    "trigger": "alert",
    "requested_by": "watcher",
    "requested_at": AT,
    "started_at": AT,
    "progress": {"step": "training", "epoch": 3},
    "verdict": None,
    "candidate_version": None,
    "promoted": False,
}
MODELS: Final = {
    "model": "digits",
    "champion": 7,
    "versions": [{"name": "digits", "version": 7, "tags": {"gate": "promote"}, "probation": None, "quarantine": None}],
    "promotions": [{"seq": 3, "from_version": 6, "to_version": 7, "kind": "promote", "at": AT, "actor": "watcher"}],
    "trial": None,
}

TRIAL: Final = {
    "id": ID,
    "version": 8,
    "beside": 7,
    "role": "canary",
    "share": 0.1,
    "state": "running",
    "at": AT,
    "reason": "new scanner",
    "ended_at": None,
    "ended_reason": "",
}
STOPPED: Final = TRIAL | {"state": "stopped", "ended_at": "2026-01-02T12:00:00Z", "ended_reason": "seen enough"}
SHADOW: Final = {"role": "shadow", "share": 0.0}


@dataclass(frozen=True)
class Example:
    """What is sent as JSON and what comes back, in the form `kind`; None where there is no body."""

    answer: Any
    body: Any = None
    kind: str = "application/json"


EXAMPLES: Final[Mapping[tuple[str, str], Example]] = {
    ("post", "/v1/predict"): Example(
        {"request_id": "order-7", "predictions": [ANSWER], "latency_ms": 1.2, "recorded": True},
        {"images": [PNG, ROWS], "client_id": "till", "request_id": "order-7", "tags": {"scanner": "flatbed"}},
    ),
    ("post", "/v1/explain"): Example(
        {"label": "3", "answer": "3", "method": "grad-cam", "heat": [[0.0] * 28] * 28, "overlay": PNG, "model": MODEL}
        | {"prediction_id": ID},
        {"prediction_id": ID, "label": "3"},
    ),
    ("get", "/v1/predictions/{prediction_id}"): Example(
        ANSWER
        | {"at": AT, "latency_ms": 1.2, "image_hash": "9f86d081" * 8, "request_id": "order-7", "client_id": "till"}
        | {"tags": {"scanner": "flatbed"}, "labels": [{"label": "5", "source": "audit", "at": AT}]}
        | {"role": "champion"}
        | {"shadows": [{name: ANSWER[name] for name in ("label", "confidence", "probabilities", "model")}]}
    ),
    ("get", "/v1/predictions/{prediction_id}/image"): Example("the PNG's bytes", kind="image/png"),
    ("post", "/v1/feedback"): Example([{"id": ID, "prediction_id": ID, "outcome": "recorded"}], {"feedback": [LABEL]}),
    ("get", "/v1/audit/next"): Example(
        {
            "answers": [{"prediction_id": ID, "at": AT, "image": PNG, "until": "2026-01-01T12:15:00Z"}],
            "classes": list(SHARES),
        }
    ),
    ("post", "/v1/retrain"): Example({"id": ID, "joined": False}, {"reason": "new scanner", "requested_by": "ann"}),
    ("get", "/v1/retrainings/{retraining_id}"): Example(RETRAINING),
    ("delete", "/v1/retrainings/{retraining_id}"): Example(None),
    ("get", "/v1/models"): Example(MODELS),
    ("post", "/v1/models/{version}/shadow"): Example(TRIAL | SHADOW, {"reason": "new scanner", "requested_by": "ann"}),
    ("delete", "/v1/models/{version}/shadow"): Example(STOPPED | SHADOW),
    ("post", "/v1/models/{version}/canary"): Example(
        TRIAL, {"share": 0.1, "reason": "new scanner", "requested_by": "ann"}
    ),
    ("delete", "/v1/models/{version}/canary"): Example(STOPPED),
    ("get", "/v1/evaluations/{evaluation_id}/report"): Example("<!doctype html>...", kind="text/html"),
    ("get", "/v2"): Example({"name": "mlplatform", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
    ("get", "/v2/health/live"): Example({"live": True}),
    ("get", "/v2/health/ready"): Example({"ready": True}),
    ("get", "/v2/models/{name}"): Example(ABOUT),
    ("get", "/v2/models/{name}/versions/{version}"): Example(ABOUT),
    ("get", "/v2/models/{name}/ready"): Example({"name": "digits", "ready": True}),
    ("get", "/v2/models/{name}/versions/{version}/ready"): Example({"name": "digits", "ready": True}),
    ("post", "/v2/models/{name}/infer"): Example(INFERRED, INFER),
    ("post", "/v2/models/{name}/versions/{version}/infer"): Example(INFERRED, INFER),
    ("post", "/invocations"): Example(
        {
            "predictions": [
                {"label": "3", "confidence": 0.91, "probabilities": SHARES, "prediction_id": ID, "model_version": 7}
            ]
        },
        {
            "dataframe_split": {"columns": ["image"], "data": [[PNG]]},
            "params": {"client_id": "till", "tags": {"scanner": "flatbed"}},
        },
    ),
    ("get", "/ping"): Example("\n", kind="text/plain"),
    ("get", "/version"): Example("3.17.0", kind="text/plain"),
    ("get", "/healthz"): Example({"status": "alive", "seconds": 12.5}),
    ("get", "/readyz"): Example(
        {
            "status": "ready",
            "model": MODEL,
            "reload_error": None,
            "recorder": {"recorded": 120, "queued": 0, "dropped": 0, "failed": 0},
        }
    ),
    ("get", "/metrics"): Example('mlplatform_predictions_total{version="7"} 120.0\n', kind="text/plain"),
}


def show_examples(app: FastAPI) -> None:
    """Let the app's OpenAPI document carry the examples."""
    plain = app.openapi

    def with_examples() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if (method, path) in EXAMPLES:
                        _add(operation, EXAMPLES[method, path])
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_examples  # type: ignore[method-assign]


def _add(operation: dict[str, Any], example: Example) -> None:
    if example.body is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.body
    if example.answer is None:
        return
    done = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    if example.kind == "application/json":
        done["content"]["application/json"]["example"] = example.answer
    else:
        done["content"] = {example.kind: {"schema": {"type": "string"}, "example": example.answer}}
