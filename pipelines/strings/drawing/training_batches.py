"""Draws the batches that a network of strings is taught with, each from a seed and its own number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.strings.drawing.digit_glyphs import DigitGlyphs
from pipelines.strings.drawing.string_augmentation import augmented, spliced
from pipelines.strings.drawing.synthetic_strings import synthetic_string
from pipelines.strings.drawing.written_string import WrittenString
from pipelines.strings.ink import HEIGHT, MARGIN, to_height
from pipelines.strings.string_alphabet import BLANK
from pipelines.strings.string_network import STEP

GROUP = 4
"""Batches that are drawn at once, so that strings of like width share one and little of it is padding."""
IGNORED = -100
"""A step that teaches nothing by itself: the edge of a character, or padding."""
CORE_SHARE = 0.5
"""Share of a character's width, in its middle, whose steps are taught as that character."""


@dataclass(frozen=True, eq=False)
class StringBatch:
    """Padded ink (n, 1, 32, width), how many steps each string has, its characters, and a class for each step."""

    ink: torch.Tensor
    steps: torch.Tensor
    targets: torch.Tensor
    lengths: torch.Tensor
    step_classes: torch.Tensor


@dataclass(frozen=True, eq=False)
class TrainingStrings:
    """Where training strings come from: scans of the training part, and glyphs of training writers."""

    scanned: Sequence[WrittenString]
    glyphs: Sequence[DigitGlyphs]

    def __post_init__(self) -> None:
        if self.scanned and not max(string.weight for string in self.scanned) > 0:
            raise DataError(f"all {len(self.scanned)} strings weigh nothing; give one a weight above 0")

    def batches(self, seed: int, number: int, rows: int, scanned_share: float) -> list[StringBatch]:
        """Group `number` of this seed: GROUP batches of so many strings, of like width each, in a random order.

        That share of the strings is scans, half of them spliced.
        """
        rng = np.random.default_rng((seed, number))
        strings = [self._string(rng, scanned_share) for _ in range(rows * GROUP)]
        strings.sort(key=lambda string: string.ink.shape[1] / string.ink.shape[0])
        return [padded(strings[rows * part : rows * (part + 1)]) for part in rng.permutation(GROUP).tolist()]

    @cached_property
    def _boxed(self) -> list[WrittenString]:
        """The scans of which it is known where each character stands."""
        return [string for string in self.scanned if len(string.spans)]

    @cached_property
    def _heaviest(self) -> float:
        return max(string.weight for string in self.scanned)

    def _drawn_scan(self, rng: np.random.Generator) -> WrittenString:
        """A scan by chance, by weight: one that weighs half as much as another comes half as often."""
        while True:
            string = self.scanned[int(rng.integers(len(self.scanned)))]
            if string.weight >= self._heaviest or rng.random() * self._heaviest < string.weight:
                return string

    def _string(self, rng: np.random.Generator, scanned_share: float) -> WrittenString:
        if self.scanned and rng.random() < scanned_share:
            if rng.random() < 0.5 and self._boxed:
                return augmented(spliced(self._boxed, rng), rng)
            return augmented(self._drawn_scan(rng), rng)
        glyphs = self.glyphs[int(rng.integers(len(self.glyphs)))]
        return augmented(synthetic_string(glyphs, rng), rng)


def padded(strings: Sequence[WrittenString]) -> StringBatch:
    """The strings at the network's height, side by side in one tensor, paper behind the shorter ones."""
    inks = [to_height(string.ink) for string in strings]
    steps = [ink.shape[1] // STEP for ink in inks]
    longest = max(steps)
    ink = np.zeros((len(strings), 1, HEIGHT, longest * STEP), np.float32)
    classes = np.full((len(strings), longest), IGNORED, np.int64)
    for row, (string, drawn, count) in enumerate(zip(strings, inks, steps, strict=True)):
        ink[row, 0, :, : count * STEP] = drawn[:, : count * STEP]
        scale = (drawn.shape[1] - 2 * MARGIN) / string.ink.shape[1]
        classes[row, :count] = step_classes(string, scale, count)
    targets = [int(character) for string in strings for character in string.text]
    return StringBatch(
        torch.from_numpy(ink),
        torch.tensor(steps),
        torch.tensor(targets),
        torch.tensor([len(string.text) for string in strings]),
        torch.from_numpy(classes),
    )


def step_classes(string: WrittenString, scale: float, steps: int) -> NDArray[np.int64]:
    """What each step shows: a character in the middle of its span, blank between spans, else IGNORED.

    Nothing is known of a string without spans.
    """
    if not len(string.spans):
        return np.full(steps, IGNORED, np.int64)
    centres = (np.arange(steps) + 0.5) * STEP
    spans = string.spans * scale + MARGIN
    classes = np.full(steps, BLANK, np.int64)
    for first, last in spans:
        classes[(centres >= first) & (centres <= last)] = IGNORED
    for character, (first, last) in zip(string.text, spans, strict=True):
        middle, reach = (first + last) / 2, (last - first) * CORE_SHARE / 2
        classes[np.abs(centres - middle) <= reach] = int(character)
        classes[min(max(int(middle / STEP), 0), steps - 1)] = int(character)
    return classes
