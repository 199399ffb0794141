"""Settles how the threads that PyTorch computes on wait for one another."""

from collections.abc import MutableMapping


def wait_without_spinning(environ: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep while they wait, in this process and its children; before PyTorch is imported.

    A thread that spins takes a core from the very thread it waits for when other programs keep the cores busy: judging
    a candidate took 60 s instead of 8. A value that somebody gave stays.
    """
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
