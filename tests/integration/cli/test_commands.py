"""The command line as a whole: quick help, --json everywhere, errors as exit codes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from mlplatform.cli import app
from tests.support.command_line import Command

HEAVY = ("torch", "mlflow", "evidently", "pandas", "sqlalchemy", "fastapi", "numpy", "apscheduler")
COMMANDS = {
    "feedback import",
    *("label-studio export", "label-studio import"),
    "retention status",
    "retention run",
    "retention erase",
    *("demo", "up", "train", "retrain", "serve", "watch", "mlflow", "check", "status", "init", "doctor", "open"),
    *("data fetch", "alerts list", "alerts ack", "alerts silence", "alerts schema"),
    *("alerts silences", "alerts unsilence"),
    *("alerts test", "alerts explain", "alerts backtest", "audit status", "audit next", "audit submit"),
    *("audit log", "audit anchor", "audit verify", "keys create", "keys list", "keys revoke"),
    *("models list", "models card", "models promote", "models quarantine", "models rollback"),
    *("models approve", "models reject", "adopt"),
    *("recording list", "recording restore", "recording discard"),
    *("models shadow", "models canary", "export", "edge serve", "tune-serving"),
}


def every_command(group: object, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The names of all commands that are shown, with their options."""
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from every_command(command, f"{path}{name} ")
        elif not command.hidden:
            yield f"{path}{name}", [option for param in command.params for option in param.opts]


def test_the_commands_are_those_of_the_documentation() -> None:
    assert {name for name, _ in every_command(typer.main.get_command(app))} == COMMANDS


def test_every_command_prints_json_when_asked() -> None:
    without = [name for name, options in every_command(typer.main.get_command(app)) if "--json" not in options]
    assert without == []


def test_every_command_explains_itself(platform: Command) -> None:
    for name, _ in every_command(typer.main.get_command(app)):
        said = platform(*name.split(), "--help")
        assert said.code == 0
        assert "Usage:" in said.out


def test_help_imports_no_heavy_library() -> None:
    script = (
        "import json, sys\nfrom mlplatform.cli import main\nsys.argv = ['platform', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "retrain" in done.stdout
    assert loaded.isdisjoint(HEAVY)


def run(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """The command as a process of its own."""
    command = [sys.executable, "-m", "mlplatform", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_a_known_error_is_one_line_on_stderr_and_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").unlink()
    done = run("alerts", "ack", "nope")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[-1] == (
        "platform: alert 'nope' is not known; `platform alerts list --all` shows every one"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("nonsense",), ("models", "card"), ("models", "card", "first"), ("serve", "--port")])
def test_wrong_usage_is_exit_code_2(platform: Command, words: tuple[str, ...]) -> None:
    assert platform(*words).code == 2
