"""Tries an example as a stranger would: a wheel of this checkout in a fresh environment, in a folder of its own.

`python examples/try_wheel.py churn` builds the wheel, installs it with its dependencies (several gigabytes), trains,
serves, asks, explains and labels; it ends with an error where a step does not do what it should. So does `flights`,
whose pipeline is a package that is installed as well. `--dependencies FOLDER` takes the dependencies, hatchling among
them, from the site-packages of this environment instead of the package index, `--source FOLDER` the flights from a
folder. The stranger's folder holds a package `pipelines` of their own, which must not get in the way.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Example:
    """What is special about one of them."""

    pipeline: str
    """How the settings name it."""
    maker: str
    """The script that writes its rows into a folder."""
    row: dict[str, object]
    labels: tuple[str, str]
    accuracy: float
    """What the first version must reach on its golden rows."""
    is_package: bool = False


EXAMPLES = {
    "churn": Example(
        "churn.py:PIPELINE",
        "make_customers.py",
        {"age": 41, "income": None, "balance": 12.5, "plan": "gold", "region": "north"},
        ("no", "yes"),
        0.9,
    ),
    "flights": Example(
        "flights",
        "make_flights.py",
        {"hour": 17.5, "weekday": 4, "distance": 1400, "carrier": "UA", "origin": "EWR", "dest": "IAH", "visib": None},
        ("on time", "late"),
        0.7,
        is_package=True,
    ),
}
READY_SECONDS = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("example", choices=EXAMPLES)
    parser.add_argument("--dependencies", type=Path, help="site-packages that have them already")
    parser.add_argument("--source", type=Path, help="a folder that has the rows of flights already")
    arguments = parser.parse_args()
    name, example = arguments.example, EXAMPLES[arguments.example]
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as temporary:
        folder = Path(temporary).resolve()
        sources = [CHECKOUT, *([CHECKOUT / "examples" / name] if example.is_package else [])]
        python = install(folder, sources, arguments.dependencies)
        work = folder / "work"
        shutil.copytree(CHECKOUT / "examples" / name, work, ignore=shutil.ignore_patterns("__pycache__"))
        if example.is_package:  # what is installed is what must be found
            (work / f"{name}.py").unlink()
        (work / "pipelines").mkdir()
        (work / "pipelines" / "__init__.py").write_text("raise RuntimeError('the stranger\\'s own pipelines')\n")
        source = [] if arguments.source is None else ["--source", str(arguments.source.resolve())]
        use(python, work, name, source)


def install(folder: Path, sources: list[Path], dependencies: Path | None) -> Path:
    """The interpreter of a fresh environment that has the wheels of these sources."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    if dependencies is not None:
        build.append("--no-build-isolation")  # hatchling is among them, and nothing is fetched
    for source in sources:
        run([*build, str(source)], folder, {})
    [wheel] = folder.glob("mlplatform-*.whl")
    others = [str(other) for other in folder.glob("*.whl") if other != wheel]
    venv.create(folder / "environment", with_pip=True)
    python = folder / "environment" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q"]
    if dependencies is None:
        run([*pip, "-c", str(CHECKOUT / "constraints.txt"), f"{wheel}[sklearn]", *others], folder, {})
        return python
    run([*pip, "--no-deps", str(wheel), *others], folder, {})
    [site] = (folder / "environment" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{dependencies.resolve()}\n")
    return python


def use(python: Path, work: Path, name: str, source: list[str]) -> None:
    """Train, serve, ask, explain and label, from the stranger's folder."""
    example = EXAMPLES[name]
    where = run([str(python), "-I", "-c", "import mlplatform; print(mlplatform.__file__)"], work, {})
    expect(where.startswith(str(python.parent.parent)), f"mlplatform was imported from {where}")
    platform = [str(python.with_name("platform"))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "PLATFORM_PIPELINE": example.pipeline,
        "PLATFORM_MODEL": name,
        "PLATFORM_DATA_DIR": "rows",
        "PLATFORM_PORT": str(port),
    }
    run([str(python), example.maker, "rows", *source], work, settings)
    run([*platform, "init", "--task", "table"], work, settings)
    trained = json.loads(run([*platform, "train", "--json"], work, settings))
    expect(trained["promoted"] and trained["golden_accuracy"] > example.accuracy, f"trained: {trained}")
    server = subprocess.Popen([*platform, "serve"], cwd=work, env=environment(settings))
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{address}/readyz", server)
        answer = ask(f"{address}/v1/predict", {"rows": [example.row], "references": ["order-17"]})
        expect(answer["predictions"][0]["label"] in example.labels, f"predicted: {answer}")
        prediction = answer["predictions"][0]["id"]
        explained = ask(f"{address}/v1/explain", {"row": example.row})
        expect(any(column["effect"] for column in explained["columns"]), f"explained: {explained}")
        labelled = ask(
            f"{address}/v1/feedback", {"prediction_id": prediction, "label": example.labels[0], "source": "delayed"}
        )
        expect(labelled[0]["outcome"] in ("recorded", "waiting"), f"labelled: {labelled}")
    finally:
        server.terminate()
        server.wait()
    accuracy = f"golden accuracy {trained['golden_accuracy']:.1%}"
    print(f"a stranger's {name}: {accuracy}, served, explained and labelled from the wheel")


def environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's, without anything of the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLATFORM_", "PYTHON"))}
    return {**kept, **settings}


def run(command: list[str], folder: Path, settings: dict[str, str]) -> str:
    """What the command says; ends this program where it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment(settings), stdout=subprocess.PIPE, text=True, check=False
    )
    expect(done.returncode == 0, f"{' '.join(command)} ended with code {done.returncode}\n{done.stdout}")
    return done.stdout


def ask(address: str, content: dict[str, object]) -> object:
    """The answer to a POST of JSON."""
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(content).encode(), headers)) as answer:
        return json.load(answer)


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        expect(server.poll() is None, "the server ended by itself")
        try:
            with urllib.request.urlopen(address):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    expect(False, f"the server was not ready within {READY_SECONDS:g} s")


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(f"try_wheel: {otherwise}")


if __name__ == "__main__":
    main()
