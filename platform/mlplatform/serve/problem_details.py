"""Errors as RFC 9457 problem details: the one place where an error becomes an HTTP status.

Paths of another protocol have the form of its own errors; `ErrorPageMiddleware` shows problems to browsers as pages.
"""

import logging
from collections.abc import Collection
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from mlplatform.auth.form_tokens import FormRefusedError
from mlplatform.auth.sign_in_errors import ProviderUnavailableError, SignInRefusedError
from mlplatform.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    ModelUnavailableError,
    NotFoundError,
    RecordingError,
    StoreUnavailableError,
    TooLargeError,
)
from mlplatform.serve.public_errors import public_message
from mlplatform.web.rendering import PAGE_HEADERS, error_page
from monitors.errors import AlertError
from pipelines.errors import DataError, ModelUnreadableError
from registry.errors import NoChampionError, RegistryError, RegistryUnavailableError, UnknownVersionError

log = logging.getLogger(__name__)
REALM: Final = 'realm="mlplatform"'
MAX_DETAIL_LENGTH: Final = 2000
FORBIDDEN_TITLE: Final = "This may not be done"
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
UNPREFIXED_PATH: Final = "mlplatform.path"
"""Where the scope of a request holds its path without the prefix that a proxy shows the server under."""

PROBLEM_BY_ERROR: dict[type[Exception], tuple[int, str, str]] = {
    InvalidInputError: (422, "invalid-input", "The input cannot be used"),
    DataError: (422, "invalid-input", "The input cannot be used"),
    TooLargeError: (413, "too-large", "The input is over a limit"),
    NotFoundError: (404, "not-found", "Not known"),
    UnknownVersionError: (404, "not-found", "Not known"),
    ForbiddenError: (403, "forbidden", FORBIDDEN_TITLE),
    SignInRefusedError: (403, "forbidden", "You are not signed in"),
    FormRefusedError: (403, "forbidden", "This form cannot be taken"),
    ConflictError: (409, "conflict", "The state moved on"),
    AlertError: (409, "conflict", "The state moved on"),
    StoreUnavailableError: (503, "store-unavailable", "The database is away"),
    ProviderUnavailableError: (503, "provider-unavailable", "The sign-in provider is away"),
    BusyError: (503, "busy", "The server is busy"),
    RecordingError: (503, "recording-unavailable", "Answers cannot be recorded"),
    RegistryUnavailableError: (503, "registry-unavailable", "The model registry is away"),
    ModelUnreadableError: (503, "model-unavailable", "The model cannot be read now"),
    ModelUnavailableError: (503, "model-unavailable", "No model is loaded"),
    NoChampionError: (503, "model-unavailable", "No model is loaded"),
    RegistryError: (503, "registry-unavailable", "The model registry refused"),
}


def unprefixed_path(scope: Scope) -> str:
    """The path of a request without the prefix."""
    path: str = scope.get(UNPREFIXED_PATH) or scope["path"]
    return path


def accepts_html(scope: Scope) -> bool:
    """Whether a browser asks for a page: programs do not name HTML."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def problem_response(status: int, kind: str, title: str, detail: str, path: str = "") -> JSONResponse:
    """One problem document, in the form of the protocol that the path belongs to, short whatever the detail."""
    if len(detail) > MAX_DETAIL_LENGTH:
        detail = f"{detail[:MAX_DETAIL_LENGTH]}..."
    headers = {"Retry-After": "2"} if status == 503 else {}
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": detail}, status, headers)
    if path == "/invocations":
        return JSONResponse({"error_code": kind.upper().replace("-", "_"), "message": detail}, status, headers)
    body = {"type": f"urn:mlplatform:problem:{kind}", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type=PROBLEM_MEDIA_TYPE)


def add_error_handlers(app: FastAPI) -> None:
    """Let every error of the app leave as a problem document."""
    for kind in PROBLEM_BY_ERROR:
        app.add_exception_handler(kind, _expected_error_response)
    app.add_exception_handler(RequestValidationError, _validation_error_response)
    app.add_exception_handler(HTTPException, _http_error_response)
    app.add_exception_handler(Exception, _unexpected_error_response)


def problem_for(request: Request, error: Exception) -> JSONResponse | None:
    """The problem that an error becomes, None for one that is not foreseen."""
    if isinstance(error, HTTPException):
        return _http_error_response(request, error)
    return _expected_error_response(request, error) if isinstance(error, tuple(PROBLEM_BY_ERROR)) else None


def _expected_error_response(request: Request, error: Exception) -> JSONResponse:
    status, kind, title = next(PROBLEM_BY_ERROR[base] for base in type(error).__mro__ if base in PROBLEM_BY_ERROR)
    detail = str(error)
    if status >= 500:
        log.warning("%s %s: %s", request.method, unprefixed_path(request.scope), detail)
        detail = public_message(error)
    return problem_response(status, kind, title, detail, unprefixed_path(request.scope))


def _validation_error_response(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:5]]
    return problem_response(
        422, "invalid-input", "The input cannot be used", "; ".join(parts), unprefixed_path(request.scope)
    )


def _http_error_response(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = problem_response(
        error.status_code, "http", "The request cannot be answered", str(error.detail), unprefixed_path(request.scope)
    )
    response.headers.update(error.headers or {})
    return response


def _unexpected_error_response(request: Request, error: Exception) -> Response:
    """It leaves outside of every middleware, so it is made a page here."""
    path, title, detail = unprefixed_path(request.scope), "The server failed", "the cause is in the server's log"
    log.error("%s %s failed", request.method, path, exc_info=error)
    if accepts_html(request.scope):
        return HTMLResponse(error_page(path, 500, title, detail), 500, PAGE_HEADERS)
    return problem_response(500, "internal", title, detail, path)


def duplicate_header_problem() -> JSONResponse:
    """400 where a header that must stand once stands twice."""
    detail = "a header that has one meaning stands twice, such as host or authorization; send each once"
    return problem_response(400, "ambiguous", "The request means two things", detail)


def forbidden_problem(who: str, scopes: Collection[str], needed: str) -> JSONResponse:
    """403 for a key or person without any of the scopes needed."""
    detail = f"{who} has {', '.join(scopes) or 'no scope'}; this needs {needed}"
    answer = problem_response(403, "forbidden", FORBIDDEN_TITLE, detail)
    first = needed.partition(" ")[0]
    answer.headers["www-authenticate"] = f'Bearer {REALM}, error="insufficient_scope", scope="{first}"'
    return answer


def session_problem() -> JSONResponse:
    """403 for a session that would change something without a form's token."""
    detail = "somebody who signed in in a browser changes things by the forms of pages; programs show an API key"
    return problem_response(403, "forbidden", FORBIDDEN_TITLE, detail)


def cross_site_problem() -> JSONResponse:
    """403 for a browser that follows another site's page."""
    detail = (
        "this request came from a page of another site; open the page here, or let that page send a key of its own "
        "(where no keys are asked for, name its origin in PLATFORM_CORS_ORIGINS)"
    )
    return problem_response(403, "forbidden", "Another site may not do that", detail)


def wrong_host_problem(host: str) -> JSONResponse:
    """421 for a host name that is not this server's."""
    detail = f"the name {host[:100]!r} is not one of this server's; add it to PLATFORM_ALLOWED_HOSTS"
    return problem_response(421, "misdirected", "Not this server's name", detail)
