"""One attack as a process of its own, so that it takes no time from those who measure: NAME PORT HOME SECONDS."""

import sys
import time
from pathlib import Path

from benchmarks.attacks import ATTACKS
from benchmarks.attacks.target import Target

if __name__ == "__main__":
    name, port, home, seconds = sys.argv[1:]
    ATTACKS[name](Target(int(port), Path(home), time.monotonic() + float(seconds)))
