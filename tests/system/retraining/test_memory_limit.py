"""The memory limit of a training: it holds, can be lifted to write why, and is told in words."""

import signal
import subprocess
import sys

import pytest

from mlplatform.retraining.memory_limit import describe_exit_code, describe_failure

linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits memory on Linux")
LIMIT = 600


def run(*lines: str) -> subprocess.CompletedProcess[str]:
    code = "\n".join(("from mlplatform.retraining.memory_limit import *", f"limit_memory({LIMIT})", *lines))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@linux
def test_more_than_the_limit_is_refused_and_lifting_it_allows_it_again() -> None:
    seen = run(
        "try: bytearray(2**30)",
        f"except MemoryError as error: print(describe_failure(error, {LIMIT}))",
        "remove_limit()",
        "print(len(bytearray(2**30)))",
    )
    told_so, size = seen.stdout.splitlines()
    assert told_so.startswith(f"memory ran out (its limit is {LIMIT} MiB, PLATFORM_TRAINING_MEMORY_MB): MemoryError")
    assert int(size) == 2**30


@linux
def test_what_torch_says_about_memory_is_understood() -> None:
    seen = run(
        "import torch",
        "try: torch.ones(2**28)",
        f"except RuntimeError as error: print(describe_failure(error, {LIMIT}))",
    )
    assert seen.stdout.startswith(f"memory ran out (its limit is {LIMIT} MiB"), seen.stderr
    assert "Raise the limit" in seen.stdout


@linux
def test_no_limit_is_none() -> None:
    code = "from mlplatform.retraining.memory_limit import limit_memory; limit_memory(0); print(len(bytearray(2**29)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert int(seen.stdout) == 2**29


def test_another_error_keeps_its_own_words() -> None:
    assert describe_failure(ValueError("a bad label"), LIMIT) == "ValueError: a bad label"


@pytest.mark.parametrize(
    ("code", "megabytes", "words"),
    [
        (3, LIMIT, "its process ended with code 3"),
        (
            -signal.SIGKILL,
            0,
            "was killed (SIGKILL), as the system does when memory runs out (PLATFORM_TRAINING_MEMORY_",
        ),
        (-signal.SIGABRT, LIMIT, "ended by SIGABRT, as it does when memory runs out (its limit is 600 MiB"),
        (-signal.SIGABRT, 0, "its process ended by SIGABRT"),
        (-signal.SIGTERM, LIMIT, "its process ended by SIGTERM"),
        (-250, 0, "its process ended by signal 250"),
    ],
)
def test_an_end_without_a_word_is_told_by_its_code(code: int, megabytes: int, words: str) -> None:
    assert words in describe_exit_code(code, megabytes)
