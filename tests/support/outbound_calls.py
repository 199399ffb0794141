"""What leaves this machine, seen from below: a preloaded library that writes calls down and refuses them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.preload import library


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
    return Outbound(library("outbound", folder), folder / "outbound.log")
