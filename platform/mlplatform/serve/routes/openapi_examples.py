"""An example of what each endpoint takes and answers, for the OpenAPI document; no code reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

ID: Final = "01984f2a-91c3-7d20-8a11-3c6f0e9b7a55"
TIMESTAMP: Final = "2026-01-01T12:00:00Z"
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4XmM8wcDEwAAAA/oAzP2xlbIAAAAASUVORK5CYII="
PIXELS: Final = [[0] * 28] * 28
MODEL: Final = {"name": "digits", "version": 7}
PROBABILITIES: Final = {str(digit): 0.91 if digit == 3 else 0.01 for digit in range(10)}
PREDICTION: Final = {"id": ID, "label": "3", "confidence": 0.91, "probabilities": PROBABILITIES, "model": MODEL}
LABEL: Final = {"prediction_id": ID, "label": "5", "source": "audit", "reviewer": "ann", "at": TIMESTAMP}
MODEL_METADATA: Final = {
    "name": "digits",
    "versions": ["7"],
    "platform": "pytorch_export",
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
    "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1]}],
}
TENSOR: Final = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}
INFER_REQUEST: Final = {
    "id": "order-7",
    "parameters": {"client_id": "till", "tags": '{"scanner": "flatbed"}'},
    "inputs": [TENSOR],
    "outputs": [{"name": "label"}, {"name": "prediction_id"}],
}
INFER_RESPONSE: Final = {
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
    "requested_at": TIMESTAMP,
    "started_at": TIMESTAMP,
    "progress": {"step": "training", "epoch": 3},
    "verdict": None,
    "candidate_version": None,
    "promoted": False,
}
MODELS: Final = {
    "model": "digits",
    "champion": 7,
    "versions": [{"name": "digits", "version": 7, "tags": {"gate": "promote"}, "probation": None, "quarantine": None}],
    "promotions": [
        {"seq": 3, "from_version": 6, "to_version": 7, "kind": "promote", "at": TIMESTAMP, "actor": "watcher"}
    ],
    "trial": None,
}

ROLLOUT: Final = {
    "id": ID,
    "version": 8,
    "beside": 7,
    "role": "canary",
    "share": 0.1,
    "state": "running",
    "at": TIMESTAMP,
    "reason": "new scanner",
    "ended_at": None,
    "ended_reason": "",
}
STOPPED_ROLLOUT: Final = ROLLOUT | {
    "state": "stopped",
    "ended_at": "2026-01-02T12:00:00Z",
    "ended_reason": "seen enough",
}
SHADOW_FIELDS: Final = {"role": "shadow", "share": 0.0}


@dataclass(frozen=True)
class Example:
    """What is sent as JSON and what comes back, in the form `kind`; None where there is no body."""

    response: Any
    request: Any = None
    media_type: str = "application/json"


EXAMPLES: Final[Mapping[tuple[str, str], Example]] = {
    ("post", "/v1/predict"): Example(
        {"request_id": "order-7", "predictions": [PREDICTION], "latency_ms": 1.2, "recorded": True},
        {"images": [PNG, PIXELS], "client_id": "till", "request_id": "order-7", "tags": {"scanner": "flatbed"}},
    ),
    ("post", "/v1/explain"): Example(
        {"label": "3", "answer": "3", "method": "grad-cam", "heat": [[0.0] * 28] * 28, "overlay": PNG, "model": MODEL}
        | {"prediction_id": ID},
        {"prediction_id": ID, "label": "3"},
    ),
    ("get", "/v1/predictions/{prediction_id}"): Example(
        PREDICTION
        | {
            "at": TIMESTAMP,
            "latency_ms": 1.2,
            "image_hash": "9f86d081" * 8,
            "request_id": "order-7",
            "client_id": "till",
        }
        | {"tags": {"scanner": "flatbed"}, "labels": [{"label": "5", "source": "audit", "at": TIMESTAMP}]}
        | {"role": "champion"}
        | {"shadows": [{name: PREDICTION[name] for name in ("label", "confidence", "probabilities", "model")}]}
    ),
    ("get", "/v1/predictions/{prediction_id}/image"): Example("the PNG's bytes", media_type="image/png"),
    ("post", "/v1/feedback"): Example([{"id": ID, "prediction_id": ID, "outcome": "recorded"}], {"feedback": [LABEL]}),
    ("get", "/v1/audit/next"): Example(
        {
            "answers": [{"prediction_id": ID, "at": TIMESTAMP, "image": PNG, "until": "2026-01-01T12:15:00Z"}],
            "classes": list(PROBABILITIES),
        }
    ),
    ("post", "/v1/retrain"): Example({"id": ID, "joined": False}, {"reason": "new scanner", "requested_by": "ann"}),
    ("get", "/v1/retrainings/{retraining_id}"): Example(RETRAINING),
    ("delete", "/v1/retrainings/{retraining_id}"): Example(None),
    ("get", "/v1/models"): Example(MODELS),
    ("post", "/v1/models/{version}/shadow"): Example(
        ROLLOUT | SHADOW_FIELDS, {"reason": "new scanner", "requested_by": "ann"}
    ),
    ("delete", "/v1/models/{version}/shadow"): Example(STOPPED_ROLLOUT | SHADOW_FIELDS),
    ("post", "/v1/models/{version}/canary"): Example(
        ROLLOUT, {"share": 0.1, "reason": "new scanner", "requested_by": "ann"}
    ),
    ("delete", "/v1/models/{version}/canary"): Example(STOPPED_ROLLOUT),
    ("get", "/v1/evaluations/{evaluation_id}/report"): Example("<!doctype html>...", media_type="text/html"),
    ("get", "/v2"): Example({"name": "mlplatform", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
    ("get", "/v2/health/live"): Example({"live": True}),
    ("get", "/v2/health/ready"): Example({"ready": True}),
    ("get", "/v2/models/{name}"): Example(MODEL_METADATA),
    ("get", "/v2/models/{name}/versions/{version}"): Example(MODEL_METADATA),
    ("get", "/v2/models/{name}/ready"): Example({"name": "digits", "ready": True}),
    ("get", "/v2/models/{name}/versions/{version}/ready"): Example({"name": "digits", "ready": True}),
    ("post", "/v2/models/{name}/infer"): Example(INFER_RESPONSE, INFER_REQUEST),
    ("post", "/v2/models/{name}/versions/{version}/infer"): Example(INFER_RESPONSE, INFER_REQUEST),
    ("post", "/invocations"): Example(
        {
            "predictions": [
                {
                    "label": "3",
                    "confidence": 0.91,
                    "probabilities": PROBABILITIES,
                    "prediction_id": ID,
                    "model_version": 7,
                }
            ]
        },
        {
            "dataframe_split": {"columns": ["image"], "data": [[PNG]]},
            "params": {"client_id": "till", "tags": {"scanner": "flatbed"}},
        },
    ),
    ("get", "/ping"): Example("\n", media_type="text/plain"),
    ("get", "/version"): Example("3.17.0", media_type="text/plain"),
    ("get", "/healthz"): Example({"status": "alive", "seconds": 12.5}),
    ("get", "/readyz"): Example(
        {
            "status": "ready",
            "model": MODEL,
            "reload_error": None,
            "recorder": {"recorded": 120, "queued": 0, "dropped": 0, "failed": 0},
        }
    ),
    ("get", "/metrics"): Example('mlplatform_predictions_total{version="7"} 120.0\n', media_type="text/plain"),
}


def add_examples(app: FastAPI) -> None:
    """Let the app's OpenAPI document carry the examples."""
    plain = app.openapi

    def with_examples() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if (method, path) in EXAMPLES:
                        _add_example(operation, EXAMPLES[method, path])
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_examples  # type: ignore[method-assign]


def _add_example(operation: dict[str, Any], example: Example) -> None:
    if example.request is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example.request
    if example.response is None:
        return
    done = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    if example.media_type == "application/json":
        done["content"]["application/json"]["example"] = example.response
    else:
        done["content"] = {example.media_type: {"schema": {"type": "string"}, "example": example.response}}
