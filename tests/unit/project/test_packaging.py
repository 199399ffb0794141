"""What an installed package needs beside its modules lies where the wheel takes it from."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
WHEEL: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"][
    "targets"
]["wheel"]
PACKAGES = tuple(ROOT / name for name in WHEEL["packages"])
DATA_FILES = (
    "monitors/py.typed",
    "pipelines/py.typed",
    "pipelines/strings/amounts.onnx",
    "platform/mlplatform/py.typed",
    "platform/mlplatform/store/migrations/script.py.mako",
    "platform/mlplatform/templates/alerts.yaml",
    "platform/mlplatform/web/static/icon.svg",
    "platform/mlplatform/web/static/review.js",
    "platform/mlplatform/web/static/script.js",
    "platform/mlplatform/web/static/style.css",
    "platform/mlplatform/web/templates/account.html",
    "platform/mlplatform/web/templates/alert.html",
    "platform/mlplatform/web/templates/alerts.html",
    "platform/mlplatform/web/templates/audit.html",
    "platform/mlplatform/web/templates/error.html",
    "platform/mlplatform/web/templates/errors.html",
    "platform/mlplatform/web/templates/gate_checks.html",
    "platform/mlplatform/web/templates/inputs.html",
    "platform/mlplatform/web/templates/keys.html",
    "platform/mlplatform/web/templates/layout.html",
    "platform/mlplatform/web/templates/model.html",
    "platform/mlplatform/web/templates/overview.html",
    "platform/mlplatform/web/templates/retraining.html",
    "platform/mlplatform/web/templates/retrainings.html",
    "platform/mlplatform/web/templates/review.html",
    "platform/mlplatform/web/templates/review_item.html",
    "platform/mlplatform/web/templates/rules.html",
    "platform/mlplatform/web/templates/sign_in.html",
    "platform/mlplatform/web/templates/version.html",
    "platform/mlplatform/web/templates/version_comparison.html",
    "platform/mlplatform/web/templates/versions.html",
    "registry/py.typed",
)
"""All that is no Python source: for type checks, migrations, pages, rules, and the reading of strings."""


def test_the_wheel_holds_the_four_packages_whole() -> None:
    """The build backend takes each folder with all its files, but for those that a setting or .gitignore names."""
    assert [path.name for path in PACKAGES] == ["mlplatform", "pipelines", "monitors", "registry"]
    assert set(WHEEL) == {"packages"}, "a setting that leaves files out needs a test of its own"


def test_the_data_files_are_those_that_are_listed() -> None:
    present = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert present == set(DATA_FILES)


def test_every_migration_is_in_the_package_and_follows_another() -> None:
    folder = ROOT / "platform/mlplatform/store/migrations"
    assert (folder / "env.py").is_file()
    versions = sorted((folder / "versions").glob("[0-9]*.py"))
    assert len(versions) == len(list((folder / "versions").glob("*.py")))
    assert versions[0].name.startswith("0001_")


def test_git_ignores_no_file_of_the_packages() -> None:
    """What .gitignore names is left out of the wheel without a word."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing to ask about ignored files")
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *map(str, PACKAGES)]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [path for path in ignored if "__pycache__" not in path] == []
