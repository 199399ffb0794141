"""Writes a file whole or not at all: readers, and a process that is killed meanwhile, leave the old one or the new."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place at `path` where the block ends without an error.

    Missing folders are made. `durable` waits until the disk has the content, so that it outlives a power failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write these bytes as the whole file."""
    with atomic_write(path) as file:
        file.write(content)
