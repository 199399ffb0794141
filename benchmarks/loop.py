"""Promise: the whole loop turns in about five minutes on two slow cores, with no request failed.

Runs `platform demo --json` in a fresh folder and reports its phases; `--quick` once, otherwise three times (median).
The limit beside it is the training itself, which no loop can undercut: its share of the total is reported.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from typing import Any

from mlplatform.operations.local_stack import platform_command

LIMIT_SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data-dir", help="MNIST in IDX form; the bundled digits otherwise")
    arguments = parser.parse_args()
    told = [_demo(arguments.data_dir) for _ in range(1 if arguments.quick else 3)]
    seconds = {name: round(statistics.median(one["seconds"][name] for one in told), 1) for name in told[0]["seconds"]}
    figures: dict[str, Any] = {
        "runs": len(told),
        "seconds": seconds,
        "requests": sum(one["requests"] for one in told),
        "failed": sum(one["failed"] for one in told),
        "accuracy": {
            name: round(statistics.median(one["accuracy"][name] for one in told), 4) for name in told[0]["accuracy"]
        },
        "training_share": round(
            statistics.median(one["training_seconds"] / one["seconds"]["total"] for one in told), 2
        ),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def _demo(data_dir: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        command = platform_command("demo", "--json", *(("--data-dir", data_dir) if data_dir else ()))
        done = subprocess.run(
            command,
            env={**os.environ, "PLATFORM_HOME": home},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"the demo failed with code {done.returncode}:\n{done.stdout}\n{done.stderr}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told


if __name__ == "__main__":
    main()
