"""What leaves this machine, seen from below: a preloaded library that writes calls down and refuses them."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("outbound.c")


@dataclass(frozen=True)
class Outbound:
    """The compiled library and where it writes."""

    library: Path
    log: Path

    @property
    def env(self) -> Mapping[str, str]:
        """The variables of a process that is watched, with all its children."""
        return {"LD_PRELOAD": str(self.library), "OUTBOUND_LOG": str(self.log)}

    @property
    def calls(self) -> list[str]:
        """The calls that were refused, each "program call target"."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


def compiled(folder: Path) -> Outbound:
    """Build the library; skips where no compiler is."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("calls are seen by a C library preloaded on Linux: no compiler here, or another system")
    library = folder / "outbound.so"
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"the C library that sees calls cannot be built here: {made.stderr.strip()[-300:]}")
    return Outbound(library, folder / "outbound.log")
