"""A function in a process of its own: no environment, no network, limits, and an end with whoever started it."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from mlplatform.errors import ProcessError
from mlplatform.host.isolated_process import Isolation, IsolationLimits, run_isolated

HERE = "tests.support.isolated_functions"


def test_the_function_gets_the_folder_and_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_DATABASE_URL", "postgresql://secret")
    run_isolated(f"{HERE}:describe", tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["folder"] == seen["cwd"] == str(tmp_path.resolve())
    assert not {name for name in seen["environment"] if name.startswith(("PLATFORM", "PYTHON"))}
    assert seen["isolated"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes the network away")
def test_it_reaches_no_port_of_this_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "port").write_text(str(server.getsockname()[1]))
        isolation = run_isolated(f"{HERE}:connect", tmp_path)
    reached = (tmp_path / "reached").read_text() == "yes"
    assert reached is not isolation.no_network, "what is said of the network is true"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hides processes")
def test_it_sees_no_process_but_its_own_and_cannot_undo_that(tmp_path: Path) -> None:
    isolation = run_isolated(f"{HERE}:list_processes", tmp_path)
    found = json.loads((tmp_path / "processes.json").read_text())
    alone = found["before"] == found["after"] == [found["own"]]
    assert alone is isolation.no_processes, "what is said of other processes is true"


@pytest.mark.parametrize(
    ("isolation", "sentence"),
    [
        (Isolation(True, True), "without network or sight of other processes"),
        (
            Isolation(no_network=True),
            "without network, but with sight of other processes, which could not be taken away",
        ),
        (Isolation(), "with network and sight of other processes, which could not be taken away"),
    ],
)
def test_what_could_not_be_taken_away_is_said(isolation: Isolation, sentence: str) -> None:
    assert isolation.sentence == sentence


def test_what_it_writes_to_its_output_does_not_say_that_it_was_cut_off(tmp_path: Path) -> None:
    assert run_isolated(f"{HERE}:say_otherwise", tmp_path) == run_isolated(f"{HERE}:describe", tmp_path)


def test_an_error_ends_it_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"ended with code 1.*ValueError: not today"):
        run_isolated(f"{HERE}:fail", tmp_path)


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="took longer than 5 s"):
        run_isolated(f"{HERE}:hang", tmp_path, IsolationLimits(seconds=5.0))
    pid = int((tmp_path / "pid").read_text()) if (tmp_path / "pid").exists() else None
    assert pid is None or pid == 1 or not _alive(pid)


def test_one_that_takes_too_much_memory_is_told_how_much_it_may(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux limits memory this way")
    with pytest.raises(ProcessError, match=r"it may use 256 MiB of memory.*MemoryError"):
        run_isolated(f"{HERE}:take_memory", tmp_path, IsolationLimits(memory_mb=256))


def test_one_that_kills_itself_is_said_to_have_been_ended(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="ended by SIGSEGV"):
        run_isolated(f"{HERE}:crash", tmp_path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
