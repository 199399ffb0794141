"""Runs one function in a process of its own, with limits and as little around it as the system can take away.

It is for opening files whose loader may run code. It is no sandbox: such code may read and write
whatever this user may, sockets that are files among them.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import mlplatform
from mlplatform.errors import ProcessError
from mlplatform.host.parent_death import end_with_parent

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
"""From linux/sched.h."""
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
"""From linux/mount.h."""
CAPABILITY_VERSION_3: Final = 0x20080522
"""From linux/capability.h."""
STOP_SECONDS: Final = 5.0
BOOT: Final = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); "
    "from mlplatform.host.isolated_process import run_child; run_child(*sys.argv[2:])"
)
LOG_FILE: Final = "log"
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")


@dataclass(frozen=True)
class IsolationLimits:
    """What the process may use."""

    memory_mb: int = 4096
    """Of memory it writes to, as RLIMIT_DATA counts."""
    cpu_seconds: int = 600
    seconds: float = 900.0
    file_mb: int = 2048
    """The largest file it may write."""


@dataclass(frozen=True)
class Isolation:
    """What could be taken away from the process; it needs Linux and a kernel that allows it."""

    no_network: bool = False
    no_processes: bool = False
    """Whether it could see no process but its own, in /proc either."""

    @property
    def sentence(self) -> str:
        """As people are told it, what could not be taken away too."""
        parts = {"network": self.no_network, "sight of other processes": self.no_processes}
        gone = " or ".join(what for what, away in parts.items() if away)
        left = " and ".join(what for what, away in parts.items() if not away)
        without = f"without {gone}" if gone else ""
        having = f"with {left}, which could not be taken away" if left else ""
        return ", but ".join(filter(None, (without, having)))


def run_isolated(function: str, folder: Path, limits: IsolationLimits = IsolationLimits()) -> Isolation:
    """Call `package.module:function` with the folder, in a process that has this folder, no environment and no network.

    Returns what was really taken away. Raises ProcessError with the last words of a process that failed, ran into a
    limit or took too long. The process ends with this one.
    """
    command = [sys.executable, "-I", "-B", "-c", BOOT, json.dumps(_import_places()), function]
    command += [str(folder.resolve()), json.dumps(asdict(limits))]
    log = folder / LOG_FILE
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, a function of this product
            command,
            env=_environment(folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
    try:
        said, _ = process.communicate(timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        _stop(process)
        raise ProcessError(f"it took longer than {limits.seconds:g} s and was ended; {_last_line(log)}") from None
    except BaseException:
        _stop(process)
        raise
    finally:
        _kill_group(process.pid)
    if process.returncode:
        raise ProcessError(f"{_ending(process.returncode, limits)}; {_last_line(log)}")
    return _read_isolation(said)


def run_child(function: str, folder: str, limits: str) -> None:
    """What the new process does: take away what can be, say whether that worked, and call the function."""
    _limit(IsolationLimits(**json.loads(limits)))
    left = _leave_network_and_processes()
    if left and (child := os.fork()):  # the first process of the new space is its child; all in there end with it
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    end_with_parent(signal.SIGKILL)
    isolation = Isolation(bool(left), bool(left & CLONE_NEWUSER) and _hide_processes())
    os.write(1, json.dumps(asdict(isolation)).encode() + b"\n")
    os.dup2(2, 1)  # what was said is not to be said otherwise
    module, _, name = function.partition(":")
    call: Callable[[Path], object] = getattr(importlib.import_module(module), name)
    call(Path(folder))


def _import_places() -> list[str]:
    """Where this process finds its modules: an isolated interpreter reads no PYTHONPATH."""
    own = [str(Path(mlplatform.__file__).resolve().parent.parent)] if mlplatform.__file__ else []
    return [*own, *(str(Path(place).resolve()) for place in sys.path if place)]


def _environment(folder: Path) -> dict[str, str]:
    own = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {**own, **libraries, **dict.fromkeys(THREAD_VARIABLES, "1")}


def _limit(limits: IsolationLimits) -> None:
    import resource

    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_mb * 2**20,
        **({resource.RLIMIT_DATA: limits.memory_mb * 2**20} if sys.platform == "linux" else {}),
    }
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _leave_network_and_processes() -> int:
    """The flags of what this process has for itself now, with nothing in it: network, processes, users; 0 for none."""
    if sys.platform != "linux":
        return 0
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    tried = (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET, CLONE_NEWPID | CLONE_NEWNET)
    return next((flags for flags in tried if unshare(flags) == 0), 0)


def _hide_processes() -> bool:
    """Whether /proc tells this process of its own space alone now, with no right left to undo that.

    A container that masks parts of /proc forbids it. The right would be one over the user space of its own.
    """
    system = ctypes.CDLL(None, use_errno=True)
    return not (
        system.unshare(CLONE_NEWNS)
        or system.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
        or system.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC), None)
        or system.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())
    )


def _read_isolation(said: bytes) -> Isolation:
    """What the child wrote before it called anything."""
    line, ended, _ = said.partition(b"\n")
    return Isolation(**json.loads(line)) if ended else Isolation()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _ending(code: int, limits: IsolationLimits) -> str:
    number = -code if code < 0 else code - 128
    if number == signal.SIGXCPU or (number == signal.SIGKILL and limits.cpu_seconds):
        return f"it was ended by {signal.Signals(number).name}, as where {limits.cpu_seconds} s of CPU time are too few"
    if number in signal.valid_signals():
        return f"it was ended by {signal.Signals(number).name}, as where {limits.memory_mb} MiB of memory are too few"
    return f"it ended with code {code}; it may use {limits.memory_mb} MiB of memory"


def _last_line(log: Path, characters: int = 600) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4 * characters))
        words = file.read().decode("utf-8", "replace").strip().rpartition("\n")[2][:characters]
        return f"its last words: {words or 'none'}"
    return "it left no words"
