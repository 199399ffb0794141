"""Limits the memory of a training process, and describes how a process ended that ran into the limit.

The limit is RLIMIT_DATA: what a process may write to privately. On Linux it lies near the memory really used, where
RLIMIT_AS counts libraries that are only mapped (docs/LOG.md). Only the soft limit is set, so that a process that ran
into it can lift it and still write down why it failed.
"""

import contextlib
import logging
import signal
import sys

log = logging.getLogger(__name__)
SETTING_NAME = "PLATFORM_TRAINING_MEMORY_MB"
OUT_OF_MEMORY_PHRASES = (
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "unable to allocate",
    "out of memory",
)
"""How libraries say it when they do not raise MemoryError."""


def limit_memory(megabytes: int) -> None:
    """Let this process have so many MiB from now on; 0 sets no limit. Elsewhere than on Linux it only warns."""
    if not megabytes:
        return
    if sys.platform != "linux":
        log.warning("%s=%d is not applied: only Linux limits the memory of a process this way", SETTING_NAME, megabytes)
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def remove_limit() -> None:
    """Take the limit off again, as far as whoever started this process allows."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def describe_failure(error: BaseException, megabytes: int) -> str:
    """What ended a training, in a sentence; where memory ran out it names the limit and the remedy."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY_PHRASES):
        return f"memory ran out ({_limit_text(megabytes)}): {text}. {_remedy(megabytes)}"
    return text


def describe_exit_code(code: int, megabytes: int) -> str:
    """How a training's process ended that closed nothing itself."""
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    if -code == signal.SIGKILL:
        return (
            f"its process was killed ({name}), as the system does when memory runs out ({_limit_text(megabytes)}). "
            f"{_remedy(megabytes)}"
        )
    if -code in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS) and megabytes:
        why = f"as it does when memory runs out ({_limit_text(megabytes)})"
        return f"its process ended by {name}, {why}. {_remedy(megabytes)}"
    return f"its process ended by {name}"


def _limit_text(megabytes: int) -> str:
    return f"its limit is {megabytes} MiB, {SETTING_NAME}" if megabytes else f"{SETTING_NAME} sets no limit"


def _remedy(megabytes: int) -> str:
    more = "Raise the limit" if megabytes else "Give the machine more memory"
    return f"{more}, or take a recipe with fewer rows"
