"""The promise: no request, however strange, makes the API server answer 5xx, hang or die.

    python -m benchmarks.fuzz [--quick] [--seconds N] [--seed N]

Requests are made by Schemathesis from the server's own OpenAPI, valid and invalid ones, half of them with ids that
exist, against a `platform serve` of its own with keys asked for. Prints a table and, last, one JSON object.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.errors import SchemathesisError
from schemathesis.core.result import Ok

PAGES: Final[dict[str, Any]] = {
    "/": {"get": {"responses": {"200": {"description": "the dashboard"}}}},
    "/alerts": {"get": {"responses": {"200": {"description": "the dashboard"}}}},
    "/alerts/{alert_id}": {"get": {"responses": {"200": {"description": "an alert"}}}},
    "/alerts/{alert_id}/acknowledge": {"post": {"responses": {"303": {"description": "its page"}}}},
}
ID: Final = {"in": "path", "name": "alert_id", "required": True, "schema": {"type": "string"}}
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
        path: {verb: operation | ({"parameters": [ID]} if "{" in path else {}) for verb, operation in verbs.items()}
        for path, verbs in PAGES.items()
    }
    return schema | {"paths": schema["paths"] | pages}


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


def main() -> None:
    """Train a small model, serve it, ask it strange things."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a minute instead of five")
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--seed", type=int, default=None, help="the same requests again")
    given = parser.parse_args()
    seconds = given.seconds or (60.0 if given.quick else 300.0)
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory() as folder:
        result = against_a_server(Path(folder), seconds, seed)
    print(json.dumps(result))
    sys.exit(1 if result["bad"] or not result["alive"] else 0)


def against_a_server(home: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Serve a model from a home of its own, and fuzz it."""
    from mlplatform.context import create_context
    from mlplatform.host.processes import ProcessGroup, free_port, http_ok
    from mlplatform.operations.local_stack import platform_command
    from mlplatform.operations.operator_actions import create_key
    from mlplatform.operations.scaffold import rules_template
    from mlplatform.retraining.worker import training_worker
    from mlplatform.settings import load_settings

    (home / "alerts.yaml").write_text(rules_template(), encoding="utf-8")
    port = free_port()
    given = {"home": str(home), "alerts_file": str(home / "alerts.yaml"), "auth": "on", "port": str(port)}
    context = create_context(load_settings(**given, recipe="compact"))
    training_worker(context).train(context.pipeline, "to be fuzzed", "fuzz", recipe="compact")
    text, _ = create_key(context, "fuzz", ["admin"], None, "fuzz")
    headers, address = {"x-api-key": text}, f"http://127.0.0.1:{port}"
    with ProcessGroup(home / "logs") as fleet:
        child = fleet.start("api", platform_command("serve"), {f"PLATFORM_{k.upper()}": v for k, v in given.items()})
        fleet.wait_healthy(child, http_ok(f"{address}/readyz"), 120)
        with httpx.Client(base_url=address, headers=headers, timeout=30, trust_env=False) as client:
            schema = client.get("/openapi.json").json()
            ids = [
                client.post("/v1/predict", json={"images": [[[0] * 28] * 28]}).json()["predictions"][0]["id"]
                for _ in range(10)
            ]
        found = fuzz(address, schema, ids, headers=headers, seconds=seconds, each=MANY, seed=seed)
        alive = child.is_running and httpx.get(f"{address}/healthz", timeout=10, trust_env=False).is_success
        log = (home / "logs" / "api.log").read_text(errors="replace")
    for route, count in sorted(found.routes.items()):
        print(f"{count:8} {route}")
    return {
        "seed": seed,
        "requests": sum(found.statuses.values()),
        "statuses": dict(sorted(found.statuses.items())),
        "slowest_seconds": round(found.slowest, 2),
        "alive": alive,
        "tracebacks": log.count("Traceback (most recent call last)"),
        "bad": found.bad[:20],
    }


if __name__ == "__main__":
    main()
