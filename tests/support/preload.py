"""C libraries that are preloaded into processes under test, to see or change what they ask of the system."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def library(name: str, folder: Path) -> Path:
    """The library of that source file beside this module, compiled into a folder; skips where no compiler is."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("this test preloads a C library on Linux: no compiler here, or another system")
    source, made = Path(__file__).with_name(f"{name}.c"), folder / f"{name}.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{source.name} cannot be compiled here: {done.stderr.strip()[-300:]}")
    return made
