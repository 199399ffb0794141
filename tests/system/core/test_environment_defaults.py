"""A process finds a home, a name and a folder to write in, whoever it runs as; a terminal without letters is no end."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.host.process_environment import fill_environment
from mlplatform.operations.local_stack import platform_command

ROOT = Path(__file__).parents[3]


def test_a_number_without_an_entry_is_given_home_and_name(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    fill_environment(environ, tmp_path, user_exists=lambda: False)
    assert environ == {"HOME": str(tmp_path), "USER": f"uid-{os.getuid()}"}


def test_what_is_there_stays(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "USER": "ada"}
    fill_environment(environ, Path("/elsewhere"), user_exists=lambda: False)
    assert environ == {"HOME": str(tmp_path), "USER": "ada"}


def test_a_home_that_cannot_be_written_keeps_no_caches(tmp_path: Path) -> None:
    environ = {"HOME": "/nowhere"}
    fill_environment(environ, tmp_path, user_exists=lambda: True)
    assert environ["MPLCONFIGDIR"] == str(tmp_path / "cache" / "matplotlib")


def test_where_nothing_else_can_be_written_temporary_files_lie_in_the_platforms_folder(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    fill_environment(environ, tmp_path, user_exists=lambda: True, has_temporary_folder=lambda: False)
    assert environ["TMPDIR"] == str(tmp_path / "tmp")
    assert (tmp_path / "tmp").is_dir()


@pytest.mark.parametrize("words", ["status", "doctor", "models list", "--help", "train --help", "alerts list"])
def test_every_command_prints_where_the_terminal_knows_only_ascii(tmp_path: Path, words: str) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
    env = {**outside, **ascii_only, "PLATFORM_HOME": str(tmp_path)}
    seen = subprocess.run(platform_command(*words.split()), env=env, capture_output=True, timeout=120, cwd=tmp_path)
    assert b"Traceback" not in seen.stderr, seen.stderr.decode()
    assert b"UnicodeEncodeError" not in seen.stderr
    assert seen.stdout.decode("ascii")


def test_a_process_that_nobody_knows_imports_what_asks_for_a_home(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may run a process as a number without an entry")
    code = (
        "import getpass, os, sys\n"
        "os.setgroups([]); sys.path[:] = " + repr(sys.path) + "\n"
        "import pathlib, mlplatform.host.process_environment as s\n"
        "os.setresuid(54321, 54321, 54321)\n"
        f"s.fill_environment(os.environ, pathlib.Path({str(tmp_path)!r}))\n"
        "print(pathlib.Path.home(), getpass.getuser())\n"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60
    )
    assert seen.stdout.split() == [str(tmp_path), "uid-54321"], seen.stderr


def texts_opened_without_encoding(tree: ast.AST) -> list[int]:
    """Lines that read or write text in whatever the locale says."""
    lines = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute | ast.Name):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
        given = {keyword.arg for keyword in call.keywords}
        modes = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        of_a_run = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value).endswith("tracking")
        if name in ("read_text", "write_text") and "encoding" not in given and not of_a_run:
            lines.append(call.lineno)
        if name == "open" and modes and set(modes[-1]) <= set("rwax+t") and "encoding" not in given:
            lines.append(call.lineno)
    return lines


def test_every_file_of_text_is_read_and_written_as_utf_8() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("registry", "pipelines", "monitors", "platform")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in texts_opened_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert faults == []
