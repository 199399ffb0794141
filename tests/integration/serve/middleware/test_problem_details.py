"""Every error that leaves the server is a problem document with the right status."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException

from mlplatform import errors
from mlplatform.auth.form_tokens import FormRefusedError
from mlplatform.auth.sign_in_errors import ProviderUnavailableError, SignInRefusedError
from mlplatform.serve.problem_details import PROBLEM_BY_ERROR, add_error_handlers, problem_response
from monitors.errors import AlertError
from pipelines.errors import CorruptDataError, DataError, ModelUnreadableError
from registry.errors import (
    CorruptModelError,
    NoChampionError,
    RegistryError,
    RegistryUnavailableError,
    UnknownVersionError,
)
from tests.support.api_server import InProcess


def test_a_problem_has_the_members_of_the_rfc_and_503_says_when_to_come_back() -> None:
    made = problem_response(503, "store-unavailable", "The database is away", "no answer")
    assert (made.media_type, made.headers["retry-after"]) == ("application/problem+json", "2")
    assert json.loads(bytes(made.body)) == {
        "type": "urn:mlplatform:problem:store-unavailable",
        "title": "The database is away",
        "status": 503,
        "detail": "no answer",
    }
    assert "retry-after" not in problem_response(404, "not-found", "Not known", "x").headers


EXPECTED: list[tuple[Exception, int, str]] = [
    (errors.InvalidInputError("x"), 422, "invalid-input"),
    (DataError("x"), 422, "invalid-input"),
    (CorruptDataError("x"), 422, "invalid-input"),
    (errors.TooLargeError("x"), 413, "too-large"),
    (errors.NotFoundError("x"), 404, "not-found"),
    (UnknownVersionError("x"), 404, "not-found"),
    (errors.ForbiddenError("x"), 403, "forbidden"),
    (FormRefusedError("x"), 403, "forbidden"),
    (SignInRefusedError("x"), 403, "forbidden"),
    (ProviderUnavailableError("x"), 503, "provider-unavailable"),
    (errors.ConflictError("x"), 409, "conflict"),
    (AlertError("x"), 409, "conflict"),
    (errors.StoreUnavailableError("x"), 503, "store-unavailable"),
    (errors.RecordingError("x"), 503, "recording-unavailable"),
    (errors.BusyError("x"), 503, "busy"),
    (RegistryUnavailableError("x"), 503, "registry-unavailable"),
    (ModelUnreadableError("x"), 503, "model-unavailable"),
    (errors.ModelUnavailableError("x"), 503, "model-unavailable"),
    (NoChampionError("x"), 503, "model-unavailable"),
    (RegistryError("x"), 503, "registry-unavailable"),
    (CorruptModelError("x"), 503, "registry-unavailable"),
    (HTTPException(418, "x", {"X-Pot": "tea"}), 418, "http"),
]


def test_each_error_leaves_as_its_status_with_its_own_words() -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/{number}")
    def fail(number: int) -> None:
        raise EXPECTED[number][0]

    with InProcess(app).running() as client:
        for number, (error, status, kind) in enumerate(EXPECTED):
            answer = client.get(f"/{number}")
            body = answer.json()
            assert (answer.status_code, body["status"], body["detail"]) == (status, status, "x"), error
            assert body["type"] == f"urn:mlplatform:problem:{kind}"
            assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-pot"] == "tea"
        refused = client.get("/word").json()
        assert (refused["status"], refused["detail"].partition(":")[0]) == (422, "path.number")
    assert {type(error) for error, _, _ in EXPECTED} >= set(PROBLEM_BY_ERROR)


def test_an_unforeseen_error_keeps_its_words_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    add_error_handlers(app)
    handler: Any = app.exception_handlers[Exception]
    request = Request({"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""})
    answer = handler(request, RuntimeError("password=secret"))
    if asyncio.iscoroutine(answer):
        answer = asyncio.run(answer)
    assert answer.status_code == 500
    assert b"secret" not in answer.body
    assert "secret" in caplog.text
