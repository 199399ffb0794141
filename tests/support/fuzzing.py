"""Requests nobody thought of, made by Schemathesis from a server's own OpenAPI, and how each of them ended."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import hypothesis
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.errors import SchemathesisError
from schemathesis.core.result import Ok

PAGES: Final[dict[str, Any]] = {
    "/": {"get": {"responses": {"200": {"description": "the dashboard"}}}},
    "/alerts": {"get": {"responses": {"200": {"description": "the alerts"}}}},
    "/models/{name}": {"get": {"responses": {"200": {"description": "a model"}}}},
    "/models/{name}/inputs": {"get": {"responses": {"200": {"description": "inputs"}}}},
    "/alerts/{alert_id}": {"get": {"responses": {"200": {"description": "an alert"}}}},
    "/alerts/{alert_id}/silence": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/alerts/{alert_id}/acknowledge": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/review": {"get": {"responses": {"200": {"description": "the queues"}}}},
    "/review/{queue_id}": {
        "get": {"responses": {"200": {"description": "an input to label"}}},
        "post": {"responses": {"303": {"description": "its page"}}},
    },
    "/review/{queue_id}/inputs/{prediction_id}": {"get": {"responses": {"200": {"description": "a picture"}}}},
    "/versions": {"get": {"responses": {"200": {"description": "the versions"}}}},
    "/versions/compare": {"get": {"responses": {"200": {"description": "two versions"}}}},
    "/versions/{version}": {"get": {"responses": {"200": {"description": "a version"}}}},
    "/versions/{version}/promote": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/versions/{version}/quarantine": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/versions/{version}/trial": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/versions/{version}/trial/stop": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/versions/rollback": {"post": {"responses": {"303": {"description": "the versions"}}}},
    "/retrainings": {
        "get": {"responses": {"200": {"description": "the queue"}}},
        "post": {"responses": {"303": {"description": "its page"}}},
    },
    "/retrainings/{retraining_id}": {"get": {"responses": {"200": {"description": "a retraining"}}}},
    "/retrainings/{retraining_id}/cancel": {"post": {"responses": {"303": {"description": "its page"}}}},
    "/rules": {"get": {"responses": {"200": {"description": "the rules"}}}},
    "/rules/backtest": {"post": {"responses": {"200": {"description": "what a draft would have done"}}}},
    "/audit": {"get": {"responses": {"200": {"description": "the audit log"}}}},
    "/keys": {"get": {"responses": {"200": {"description": "the keys"}}}},
}
PLACES: Final[dict[str, list[tuple[str, str]]]] = {
    "/models/{name}": [("path", "name"), ("query", "range")],
    "/models/{name}/inputs": [("path", "name"), ("query", "truth"), ("query", "answer"), ("query", "range")],
    "/alerts/{alert_id}": [("path", "alert_id")],
    "/alerts/{alert_id}/silence": [("path", "alert_id")],
    "/alerts/{alert_id}/acknowledge": [("path", "alert_id")],
    "/review": [("query", "reviewer")],
    "/review/{queue_id}": [("path", "queue_id"), ("query", "reviewer"), ("query", "item")],
    "/review/{queue_id}/inputs/{prediction_id}": [
        ("path", "queue_id"),
        ("path", "prediction_id"),
        ("query", "reviewer"),
    ],
    "/versions/compare": [("query", "before"), ("query", "after")],
    "/versions/{version}": [("path", "version")],
    "/versions/{version}/promote": [("path", "version")],
    "/versions/{version}/quarantine": [("path", "version")],
    "/versions/{version}/trial": [("path", "version")],
    "/versions/{version}/trial/stop": [("path", "version")],
    "/retrainings/{retraining_id}": [("path", "retraining_id")],
    "/retrainings/{retraining_id}/cancel": [("path", "retraining_id")],
    "/audit": [("query", "actor"), ("query", "action"), ("query", "subject"), ("query", "before")],
}
"""Where each page takes a text, and its name."""
SLOWEST_SECONDS: Final = 20.0
MANY = 100_000


class _TimeIsUpError(Exception):
    """Ends an operation's turn: Hypothesis would go on making requests that nobody sends."""


@dataclass
class Found:
    """How requests ended, and each that ended badly as a command to repeat it."""

    statuses: Counter[str] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    slowest: float = 0.0


def with_pages(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the pages for people in it, which OpenAPI leaves out."""
    pages = {
        path: {verb: operation | {"parameters": _parameters(path)} for verb, operation in verbs.items()}
        for path, verbs in PAGES.items()
    }
    return schema | {"paths": schema["paths"] | pages}


def _parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"in": place, "name": name, "required": place == "path", "schema": {"type": "string"}}
        for place, name in PLACES.get(path, [])
    ]


def fuzz(
    address: str,
    schema: dict[str, Any],
    ids: Sequence[str],
    *,
    headers: dict[str, str],
    seconds: float,
    each: int,
    seed: int,
) -> Found:
    """Ask every operation for up to `each` valid and as many invalid requests, in turns, for about so many seconds.

    Each is asked at least once, however slow the server is.
    """
    found, rng = Found(), random.Random(seed)
    read = schemathesis.openapi.from_dict(with_pages(schema)).get_all_operations()
    operations = [result.ok() for result in read if isinstance(result, Ok)]
    turns = [(operation, mode) for mode in GenerationMode for operation in operations]
    end = time.monotonic() + seconds
    with requests.Session() as session:
        session.trust_env = False  # a proxy's loopback is another machine's
        session.headers.update(headers)
        for number, (operation, mode) in enumerate(turns):
            share = (end - time.monotonic()) / (len(turns) - number)
            _ask(operation, mode, each, time.monotonic() + share, (address, session, ids, rng, found))
    return found


def _ask(operation: Any, mode: GenerationMode, each: int, until: float, world: tuple[Any, ...]) -> None:  # noqa: ANN401
    address, session, ids, rng, found = world
    asked = 0

    @hypothesis.settings(
        max_examples=each,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.seed(rng.getrandbits(32))
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:  # noqa: ANN401 - Schemathesis' own type
        nonlocal asked
        if asked and time.monotonic() >= until:
            raise _TimeIsUpError
        asked += 1
        _one(_with_known_ids(case, ids, rng), address, session, found)

    try:
        ask()
    except _TimeIsUpError:
        return
    except (hypothesis.errors.Unsatisfiable, SchemathesisError):
        found.routes[f"{operation.label} has no {mode.value} requests"] += 1


def _with_known_ids(case: Any, ids: Sequence[str], rng: random.Random) -> Any:  # noqa: ANN401
    """Half of the requests are about things that exist, or nothing behind the first look-up would ever be asked."""
    if ids and rng.random() < 0.5:
        for name in case.path_parameters or {}:
            case.path_parameters[name] = rng.choice(ids)
        items = case.body.get("feedback", [case.body]) if isinstance(case.body, dict) else []
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and "prediction_id" in item:
                item.update(prediction_id=rng.choice(ids), label=str(rng.randrange(10)))
    return case


def _one(case: Any, address: str, session: requests.Session, found: Found) -> None:  # noqa: ANN401
    begun = time.monotonic()
    try:
        answer = case.call(base_url=address, session=session, timeout=SLOWEST_SECONDS, allow_redirects=False)
        status = answer.status_code
    except requests.exceptions.InvalidHeader:
        return  # no client can send this
    except (requests.RequestException, OSError) as error:
        status, answer = type(error).__name__, None
    found.slowest = max(found.slowest, time.monotonic() - begun)
    found.statuses[str(status)] += 1
    found.routes[case.operation.label] += 1
    if answer is None or status >= 500:
        found.bad.append(f"{status}: {case.as_curl_command()}"[:2000])
