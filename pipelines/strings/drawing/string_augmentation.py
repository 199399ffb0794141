"""Moves written strings about: slant, size, pen and light; and joins parts of several scans to strings nobody wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.strings.drawing.written_string import WrittenString

MAX_SPLICED_LENGTH: Final = 8
BORDER_SHARE: Final = 0.15
"""Of strings that get a printed line at their left or right edge, such as the box around the amount: it is no one."""
MAX_OVERLAP: Final = 2.0
"""Columns that neighbours may share where a string is cut between them."""


def augmented(string: WrittenString, rng: np.random.Generator) -> WrittenString:
    """The string slanted, turned, stretched, moved, written with another pen in another light."""
    moved = _moved(string, rng)
    ink = _with_pen(moved.ink, rng.uniform(-0.7, 0.9)) if rng.random() < 0.5 else moved.ink
    if rng.random() < 0.7:
        ink = np.clip(ink, 0, 1) ** np.float32(rng.uniform(0.7, 1.5)) * np.float32(rng.uniform(0.7, 1.1))
    if rng.random() < 0.5:
        ink = ink + rng.normal(0, rng.uniform(0.01, 0.08), ink.shape).astype(np.float32)
    ink = np.clip(ink, 0, 1).astype(np.float32)
    if rng.random() < BORDER_SHARE:
        _draw_border(ink, rng)
    return WrittenString(ink, moved.text, moved.spans)


def spliced(pool: Sequence[WrittenString], rng: np.random.Generator) -> WrittenString:
    """The beginning of one string with the end of another, and sometimes a part of a third between them."""
    parts = [_beginning(_any(pool, rng), rng)]
    if rng.random() < 0.3:
        parts.append(_middle(_any(pool, rng), rng))
    parts.append(_end(_any(pool, rng), rng))
    height = parts[0].ink.shape[0]
    fitted = [_at_height(part, height) for part in parts]
    offsets = np.cumsum([0, *(part.ink.shape[1] for part in fitted[:-1])])
    text = "".join(part.text for part in fitted)
    if len(text) > MAX_SPLICED_LENGTH:
        return fitted[0]
    return WrittenString(
        np.concatenate([part.ink for part in fitted], axis=1),
        text,
        np.concatenate([part.spans + offset for part, offset in zip(fitted, offsets, strict=True)]).astype(np.float32),
    )


def _any(pool: Sequence[WrittenString], rng: np.random.Generator) -> WrittenString:
    return pool[int(rng.integers(len(pool)))]


def _beginning(string: WrittenString, rng: np.random.Generator) -> WrittenString:
    return _part(string, 0, _cut(string, rng))


def _end(string: WrittenString, rng: np.random.Generator) -> WrittenString:
    return _part(string, _cut(string, rng), len(string.text))


def _middle(string: WrittenString, rng: np.random.Generator) -> WrittenString:
    first, last = sorted((_cut(string, rng), _cut(string, rng)))
    return _part(string, first, last)


def _cut(string: WrittenString, rng: np.random.Generator) -> int:
    """The number of characters before a place where two stand apart; all of them where there is no such place."""
    gaps = string.spans[1:, 0] - string.spans[:-1, 1]
    places = np.flatnonzero(gaps >= -MAX_OVERLAP) + 1
    return int(rng.choice(places)) if len(places) else len(string.text)


def _part(string: WrittenString, first: int, last: int) -> WrittenString:
    """Characters from `first` to before `last`, cut in the middle of the gaps; the outer edges stay as they are."""
    if first >= last:
        return WrittenString(string.ink[:, :0], "", np.zeros((0, 2), np.float32))
    left = 0 if first == 0 else _between(string, first)
    right = string.ink.shape[1] if last == len(string.text) else _between(string, last)
    return WrittenString(string.ink[:, left:right], string.text[first:last], string.spans[first:last] - left)


def _between(string: WrittenString, place: int) -> int:
    return round(float(string.spans[place - 1, 1] + string.spans[place, 0]) / 2)


def _at_height(string: WrittenString, height: int) -> WrittenString:
    rows, columns = string.ink.shape
    if rows == height or not columns:
        return string if columns else WrittenString(np.zeros((height, 0), np.float32), string.text, string.spans)
    scale = height / rows
    width = max(1, round(columns * scale))
    ink = np.asarray(Image.fromarray(string.ink).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return WrittenString(ink, string.text, (string.spans * scale).astype(np.float32))


def _moved(string: WrittenString, rng: np.random.Generator) -> WrittenString:
    """Shear, a small turn, one factor for each axis and a shift up or down, in one affine map."""
    rows, columns = string.ink.shape
    shear, turn = rng.normal(0, 0.17), rng.normal(0, 0.025)
    wide, high = np.exp(rng.normal(0, 0.13)), np.exp(rng.normal(0, 0.1))
    lift = rng.normal(0, 0.05) * rows
    lean = abs(shear) * rows / 2
    width = max(8, round((columns + 2 * lean) * wide))
    # From a place in the new picture to one in the old; the lean turns about half the height.
    middle = rows / 2
    row_map = (-turn / wide, 1 / high, middle - middle / high + lift + turn * width / wide / 2)
    column_map = (
        1 / wide - shear * row_map[0],
        -shear * row_map[1],
        -lean - shear * (row_map[2] - middle),
    )
    image = Image.fromarray(string.ink)
    moved = image.transform((width, rows), Image.Transform.AFFINE, (*column_map, *row_map), Image.Resampling.BILINEAR)
    spans = (string.spans + lean) * wide
    return WrittenString(np.asarray(moved, np.float32), string.text, spans.astype(np.float32))


def _draw_border(ink: NDArray[np.float32], rng: np.random.Generator) -> None:
    """An upright line of one or two columns within five of an edge, from top to bottom, in place."""
    width, inset = int(rng.integers(1, 3)), int(rng.integers(0, 5))
    left = inset if rng.random() < 0.6 else ink.shape[1] - inset - width
    line = ink[:, left : left + width]
    np.maximum(line, np.float32(rng.uniform(0.4, 1.0)), out=line)


def _with_pen(ink: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    """Strokes thickened, or thinned where the amount is below 0, by up to a pixel on every side."""
    choose = np.maximum if amount > 0 else np.minimum
    wide = ink.copy()
    choose(wide[:, 1:], ink[:, :-1], out=wide[:, 1:])
    choose(wide[:, :-1], ink[:, 1:], out=wide[:, :-1])
    full = wide.copy()
    choose(full[1:], wide[:-1], out=full[1:])
    choose(full[:-1], wide[1:], out=full[:-1])
    return ink + (full - ink) * np.float32(abs(amount))
