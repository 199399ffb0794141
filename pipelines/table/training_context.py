"""What a user's `train` is given: rows that are chosen, weighed and on one side only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import TrainingStopped


@dataclass(frozen=True, eq=False)
class TrainingContext:
    """One training: its rows, its seed, its places on disk, and how it reports.

    `x` and `validation_x` have one column each as the model will be fed: float64 with NaN for missing numbers, texts
    with "" for missing ones. `y` names each row's class, `codes` says its position among `classes`.
    """

    x: pd.DataFrame
    y: NDArray[np.object_]
    codes: NDArray[np.int64]
    weights: NDArray[np.float64]
    validation_x: pd.DataFrame
    validation_y: NDArray[np.object_]
    validation_codes: NDArray[np.int64]
    classes: tuple[str, ...]
    seed: int
    folder: Path | None
    """Where the pipeline's data lie."""
    scratch: Path
    """An empty folder that is deleted after the training."""
    should_stop: Callable[[], bool]
    on_metrics: Callable[[Mapping[str, float], int], None]

    def check(self) -> None:
        """Raise TrainingStopped where the training was cancelled; call it now and then in a long one."""
        if self.should_stop():
            raise TrainingStopped("this training was cancelled; nothing of it stays registered")

    def log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Write numbers of this step into the run, such as the loss of a round."""
        self.on_metrics(metrics, step)
