"""The checkpoint of a training."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from pipelines.training.training_checkpoint import MAX_CHECKPOINTS, checkpoint_path, read_checkpoint, write_checkpoint


def test_a_state_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.pt"
    write_checkpoint(path, "this one", {"weights": torch.arange(3), "epoch": 2, "loss": [0.5]})
    state = read_checkpoint(path, "this one")
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(3))
    assert (state["epoch"], state["loss"]) == (2, [0.5])
    assert [each.name for each in path.parent.iterdir()] == ["state.pt"]


def test_another_trainings_state_is_not_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "state.pt", "this one", {"epoch": 2})
    assert read_checkpoint(tmp_path / "state.pt", "another") is None


HOSTILE = pickle.dumps({"identity": "x", "state": Path()}, protocol=2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", HOSTILE])
def test_what_is_no_whole_checkpoint_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    assert read_checkpoint(tmp_path / "state.pt", "x") is None
    assert read_checkpoint(tmp_path / "none.pt", "x") is None


def test_a_write_that_fails_leaves_the_state_before_it(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    write_checkpoint(path, "x", {"epoch": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(path, "x", {"epoch": lambda: 2})
    assert read_checkpoint(path, "x") == {"epoch": 1}


def test_a_folder_keeps_the_newest_few_and_always_ones_own(tmp_path: Path) -> None:
    for age in range(6):
        path = checkpoint_path(tmp_path, f"{age}" * 40)
        write_checkpoint(path, f"{age}" * 40, {"epoch": age})
        os.utime(path, (1000 + age, 1000 + age))
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["3", "4", "5"]
    assert len(list(tmp_path.iterdir())) == MAX_CHECKPOINTS
    assert checkpoint_path(tmp_path, "3" * 40).is_file()
    checkpoint_path(tmp_path, "9" * 40)
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["4", "5"]
