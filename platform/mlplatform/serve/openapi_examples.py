"""Example values of the OpenAPI document; each route shows its own."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

Responses = dict[int | str, dict[str, Any]]
"""What FastAPI adds to the documented responses of a route, by status."""

ID: Final = "01984f2a-91c3-7d20-8a11-3c6f0e9b7a55"
TIMESTAMP: Final = "2026-01-01T12:00:00Z"
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4XmM8wcDEwAAAA/oAzP2xlbIAAAAASUVORK5CYII="
PIXELS: Final = [[0] * 28] * 28
MODEL: Final = {"name": "digits", "version": 7}
PROBABILITIES: Final = {str(digit): 0.91 if digit == 3 else 0.01 for digit in range(10)}
PREDICTION: Final = {"id": ID, "label": "3", "confidence": 0.91, "probabilities": PROBABILITIES, "model": MODEL}
LABEL: Final = {"prediction_id": ID, "label": "5", "source": "audit", "reviewer": "ann", "at": TIMESTAMP}


def response_example(example: object, media_type: str = "application/json", status: int = 200) -> Responses:
    """The example of a route's successful response; FastAPI merges it with the schema of the response model."""
    content: dict[str, Any] = {"example": example}
    if media_type != "application/json":
        content["schema"] = {"type": "string"}
    return {status: {"content": {media_type: content}}}


def show_examples(app: FastAPI) -> None:
    """Keep what is null in the examples of responses: FastAPI leaves it out of the document."""
    without_null = app.openapi

    def openapi() -> dict[str, Any]:
        is_built = app.openapi_schema is not None
        document = without_null()
        if not is_built:
            for route in app.routes:
                if isinstance(route, APIRoute) and route.include_in_schema:
                    for method in route.methods or ():
                        _restore_examples(document["paths"][route.path_format][method.lower()], route)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _restore_examples(operation: dict[str, Any], route: APIRoute) -> None:
    for status, response in route.responses.items():
        for media_type, content in response.get("content", {}).items():
            if "example" in content:
                operation["responses"][str(status)]["content"][media_type]["example"] = content["example"]
