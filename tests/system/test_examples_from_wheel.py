"""The examples as a stranger has them: a wheel of this checkout in a fresh environment, without the network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def flights_folder() -> list[str]:
    """The argument that names the folder of flights beside that of MNIST; skips where there is none."""
    path = Path(os.environ.get("PLATFORM_TEST_MNIST_DIR", "")).parent / "flights"
    if "PLATFORM_TEST_MNIST_DIR" not in os.environ or not path.is_dir():
        pytest.skip("there is no folder flights beside the folder that PLATFORM_TEST_MNIST_DIR names")
    return ["--source", str(path)]


@pytest.mark.parametrize("example", ["churn", "flights"])
def test_an_example_trains_serves_explains_and_labels_from_the_wheel(example: str) -> None:
    source = flights_folder() if example == "flights" else []
    site_packages = sysconfig.get_path("purelib")
    command = [sys.executable, "examples/try_wheel.py", example, "--dependencies", site_packages, *source]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"a stranger's {example}: golden accuracy" in done.stdout
    assert "served, explained and labelled from the wheel" in done.stdout
