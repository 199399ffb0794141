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
from pathlib import Path
from typing import Any

import httpx

from tests.support.fuzzing import MANY, fuzz


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
    from mlplatform.retraining.training_pipeline import training_pipeline
    from mlplatform.retraining.worker import training_worker
    from mlplatform.settings import load_settings

    (home / "alerts.yaml").write_text(rules_template(), encoding="utf-8")
    port = free_port()
    given = {"home": str(home), "alerts_file": str(home / "alerts.yaml"), "auth": "on", "port": str(port)}
    context = create_context(load_settings(**given, recipe="compact"))
    training_worker(context).train(training_pipeline(context.settings), "to be fuzzed", "fuzz", recipe="compact")
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
