"""The loop that tutorials teach: a Dataset, a DataLoader, Adam, one batch after the other; it knows no recipe."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.tutorial.transforms import Transform


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """Images with a transform, as `torchvision.datasets.MNIST` gives them."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Transform) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """One image, transformed, with its label."""
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def seconds_of(
    network: nn.Module,
    rows: Digits,
    batch_size: int,
    rate: float,
    workers: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that one epoch takes, after the loader's workers and the network are warm."""
    loader = DataLoader(rows, batch_size=batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    loss_of = nn.CrossEntropyLoss()
    spent = 0.0
    for _ in range(2):
        begun = clock()
        network.train()
        running_loss = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_of(network(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        spent = clock() - begun
    return spent
