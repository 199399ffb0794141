"""The four packages are laid out as planned: names, sizes, docstrings, one folder without a package file."""

import ast
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("registry", "pipelines", "monitors", "platform/mlplatform")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
FOLDERS_BY_CAPABILITY = ("cli", "serve/routes", "store/tables")
"""Folders of mlplatform with one module for each capability, named as the capability is: commands, routes, tables."""


def test_the_shelf_is_no_package_and_pythons_platform_works_from_the_root() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    command = [sys.executable, "-c", "import platform; print(platform.system())"]
    seen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == platform.system()


def test_a_module_opens_with_a_sentence_and_stays_on_a_few_screens() -> None:
    assert [fault for path in MODULES for fault in faults_of(path)] == []


def faults_of(path: Path) -> Iterator[str]:
    """What is too long in a module, or has no docstring."""
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
    tree = ast.parse(text)
    if (lines := len(text.splitlines())) > 350:
        yield f"{name} has {lines} lines"
    if text.strip() and not ast.get_docstring(tree):
        yield f"{name} has no docstring"
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in functions if "migrations" not in path.parts else []:
        if (node.end_lineno or 0) - node.lineno >= 80:
            yield f"{name}: {node.name} is too long"


def test_no_module_takes_a_standard_library_name_or_a_vague_one() -> None:
    vague = {"utils", "helpers", "common", "manager", "misc"}
    taken = {path.stem for path in MODULES if not path.stem.startswith("_") and (path.stem in sys.stdlib_module_names)}
    assert taken == set()
    assert not vague & {path.stem for path in MODULES}


def test_a_module_name_stands_for_one_thing_in_all_four_packages() -> None:
    """Else who looks for a module finds two. Every package has `errors`: one list of what it raises.

    `mlplatform.pipeline` is what pipelines elsewhere import, and gives them `pipelines.pipeline`: the same thing.
    """
    places = defaultdict(list)
    for path in MODULES:
        folder = path.parent.relative_to(ROOT).as_posix().removeprefix("platform/mlplatform/")
        if path == ROOT / "platform" / "mlplatform" / "pipeline.py":
            continue
        if not path.stem.startswith("_") and path.stem != "errors" and folder not in FOLDERS_BY_CAPABILITY:
            places[path.stem].append(str(path.relative_to(ROOT)))
    assert {stem: paths for stem, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_its_errors_on_one_screen(room: str) -> None:
    assert len((ROOT / room / "errors.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_console_script_lives_and_help_needs_no_heavy_library() -> None:
    code = (
        "import sys\nfrom mlplatform.cli import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'mlflow', 'evidently', 'pandas', 'sqlalchemy', 'fastapi', 'numpy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
