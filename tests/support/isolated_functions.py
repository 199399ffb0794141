"""What tests run in an isolated process; it imports the standard library alone."""

import ctypes
import json
import os
import socket
import sys
import time
from pathlib import Path


def describe(folder: Path) -> None:
    seen = {
        "folder": str(folder),
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "isolated": bool(sys.flags.isolated),
    }
    (folder / "seen.json").write_text(json.dumps(seen))


def connect(folder: Path) -> None:
    reached = "yes"
    try:
        socket.create_connection(("127.0.0.1", int((folder / "port").read_text())), 5).close()
    except OSError:
        reached = "no"
    (folder / "reached").write_text(reached)


def list_processes(folder: Path) -> None:
    before = _processes()
    if before == [os.getpid()]:  # else it might be the machine's own /proc that goes
        ctypes.CDLL(None).umount2(b"/proc", 2)
    (folder / "processes.json").write_text(json.dumps({"own": os.getpid(), "before": before, "after": _processes()}))


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def say_otherwise(_folder: Path) -> None:
    os.write(1, b'{"no_network": false, "no_processes": false}\n')


def fail(_folder: Path) -> None:
    raise ValueError("not today")


def hang(folder: Path) -> None:
    (folder / "pid").write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def take_memory(_folder: Path) -> None:
    held = bytearray(1024 * 2**20)
    held[::4096] = b"x" * len(held[::4096])


def crash(_folder: Path) -> None:
    ctypes.string_at(0)
