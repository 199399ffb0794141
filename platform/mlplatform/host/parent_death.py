"""Ends a child process when its parent dies without a word (kill -9), so that no orphan works on."""

import ctypes
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""From linux/prctl.h."""


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Let the kernel send this process a signal when its parent ends; on Linux only, elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
