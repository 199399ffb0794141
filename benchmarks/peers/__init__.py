"""The Python environments of rivals whose pins clash with the platform's, made once under var/; they run nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HOME: Final = Path("var/benchmarks")
NANNYML: Final = (
    "nannyml==0.13.1",
    "pandas>=2.2,<3",
    "statsmodels>=0.15,<0.16",
    "sqlalchemy>=2.1,<2.2",
    "psycopg[binary]>=3.3,<4",
)


def environment(name: str, pins: Sequence[str]) -> str | None:
    """The environment's Python; None, with a line that says why, where it cannot be had."""
    home = HOME / name
    python = home / "bin" / "python"
    if not (home / "made").exists():
        shutil.rmtree(home, ignore_errors=True)
        making = [sys.executable, "-m", "venv", str(home)], [str(python), "-m", "pip", "install", "--quiet", *pins]
        outside = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
        for command in making:
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=outside)
            if done.returncode:
                print(f"{name} is left out: {(done.stderr.strip().splitlines() or [''])[-1]}")
                return None
        (home / "made").touch()
    return str(python)
