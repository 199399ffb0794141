"""PyTorch on one thread, here and in every process the tests start: the tests share few cores.

Threads of OpenMP wait for one another at the end of each operation. Where all cores are busy the slowest one waits for
its turn, hundreds of times a second: one image took 60 ms instead of 0.4, and a retraining minutes.
"""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when PyTorch is loaded


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread while tests run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
