"""Draws folders of strings in the form of ORAND-CAR-A: digits as seven segments, dark on grey paper."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
"""The lit segments of each digit, named as on a pocket calculator."""
HEIGHT, WIDTH, GAP, MARGIN = 28, 14, 6, 8


def drawn_digit(digit: int, stroke: int = 3) -> NDArray[np.float32]:
    """One digit as ink (28, 14), from 0 to 1."""
    ink, middle = np.zeros((HEIGHT, WIDTH), np.float32), HEIGHT // 2
    places = {
        "a": (slice(0, stroke), slice(0, WIDTH)),
        "b": (slice(0, middle), slice(WIDTH - stroke, WIDTH)),
        "c": (slice(middle, HEIGHT), slice(WIDTH - stroke, WIDTH)),
        "d": (slice(HEIGHT - stroke, HEIGHT), slice(0, WIDTH)),
        "e": (slice(middle, HEIGHT), slice(0, stroke)),
        "f": (slice(0, middle), slice(0, stroke)),
        "g": (slice(middle - 1, middle + stroke - 1), slice(0, WIDTH)),
    }
    for segment in SEGMENTS[digit]:
        ink[places[segment]] = 1.0
    return ink


def drawn_string(text: str, seed: int = 0) -> tuple[NDArray[np.uint8], list[list[int]]]:
    """A grey picture of a text, and the box [x, y, width, height, digit] of each digit."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(190, 4, (HEIGHT + 2 * MARGIN, 2 * MARGIN + len(text) * (WIDTH + GAP) - GAP))
    boxes, x = [], MARGIN
    for digit in text:
        y = MARGIN + int(rng.integers(-3, 4))
        picture[y : y + HEIGHT, x : x + WIDTH] -= 130 * drawn_digit(int(digit))
        boxes.append([x, y, WIDTH, HEIGHT, int(digit)])
        x += WIDTH + GAP
    return picture.clip(0, 255).astype(np.uint8), boxes


def write_string_folder(folder: Path, texts: list[str]) -> Path:
    """A folder with a PNG and a line of labels for each text."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, text in enumerate(texts):
        picture, boxes = drawn_string(text, seed=number)
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        lines.append(json.dumps({"file": f"{number}.png", "amount": text, "boxes": boxes}))
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
