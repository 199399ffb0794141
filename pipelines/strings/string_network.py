"""Builds the network that reads a string: convolutions, a bidirectional LSTM along the width, a class for each step.

A smaller form of the network of Shi, Bai and Yao, "An End-to-End Trainable Neural Network for Image-based Sequence
Recognition" (TPAMI 2017), for connectionist temporal classification (Graves et al., ICML 2006).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from pipelines.strings.string_alphabet import BLANK

STEP: Final = 4
"""Columns of the input that make one step of the output."""
CHANNELS: Final = (16, 32, 64, 96, 128)
HIDDEN: Final = 96
DROPOUT: Final = 0.2


class StringNetwork(nn.Module):
    """Float32 ink (n, 1, 32, width) in, logits (n, width / 4, 11) out; the width may be any."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three, four, five = CHANNELS
        self.convolutions = nn.Sequential(
            *_block(1, one, nn.MaxPool2d(2)),
            *_block(one, two, nn.MaxPool2d(2)),
            *_block(two, three),
            *_block(three, four, nn.MaxPool2d((2, 1))),
            *_block(four, five, nn.MaxPool2d((2, 1))),
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.reader = nn.LSTM(2 * five, HIDDEN, batch_first=True, bidirectional=True)
        self.classes = nn.Linear(2 * HIDDEN, BLANK + 1)

    def forward(self, ink: torch.Tensor) -> torch.Tensor:
        features = self.convolutions(ink)  # (n, channels, 2, steps)
        columns = features.flatten(1, 2).transpose(1, 2)
        read, _ = self.reader(self.dropout(columns))
        logits: torch.Tensor = self.classes(self.dropout(read))
        return logits


def build_string_network(seed: int) -> StringNetwork:
    """A network with weights drawn by this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StringNetwork()


def _block(inputs: int, outputs: int, *pooling: nn.Module) -> list[nn.Module]:
    # Batch norm has its own offset, so the convolution needs none; after pooling it has less to do.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pooling, nn.BatchNorm2d(outputs), nn.ReLU()]
