"""Draws the front of a cheque: paper with a printed pattern, printed fields, code line, and a handwritten amount."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cheques.code_line import CodeLine
from cheques.rendering.handwriting import WrittenAmount
from cheques.rendering.printing import BOLD_FONT, CODE_FONT, HAND_FONT, TEXT_FONT, font

WIDTH, HEIGHT = 1200, 540
"""Of a cheque of 8 by 3.6 inches at 150 dots an inch."""
AMOUNT_FRAME: Final = (850, 150, 310, 78)
"""Left, top, width and height of the printed frame of the courtesy amount."""
CODE_LINE_PLACE: Final = (110, 476)
CODE_FONT_SIZE: Final = 31
CODE_PITCH: Final = 24
"""Pixels from one character of the code line to the next: machines read what does not touch."""
PRINT: Final = (40, 60, 95)
PAPERS: Final = ((222, 236, 226), (236, 230, 214), (220, 230, 240), (240, 226, 230))


@dataclass(frozen=True)
class ChequeText:
    """What is on a cheque besides the amount."""

    code: CodeLine
    holder: str = "A. Example"
    payee: str = "City Works Ltd"
    date: str = "30 November 2026"


def draw_cheque(written: WrittenAmount, text: ChequeText, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A cheque from above, uint8 (HEIGHT, WIDTH, 3)."""
    image = Image.fromarray(_paper(rng))
    _print_fields(image, text)
    pixels = np.asarray(image).astype(np.float32)
    _sign(pixels, rng)
    _write_amount(pixels, written, rng)
    drawn: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return drawn


def _paper(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Coloured paper with fibres, and waves of a security print."""
    colour = np.array(PAPERS[int(rng.integers(len(PAPERS)))], np.float32)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    wave = np.sin(rows / rng.uniform(5, 9) + 3 * np.sin(columns / rng.uniform(60, 140)) + rng.uniform(0, 6))
    print_depth = rng.uniform(2, 7)
    coarse = rng.normal(0, 1, (HEIGHT // 6, WIDTH // 6)).astype(np.float32)
    fibres = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 1.5, (HEIGHT, WIDTH)).astype(np.float32)
    shade = -print_depth * np.clip(wave, 0, 1) + 1.5 * fibres + grain
    paper: NDArray[np.uint8] = np.clip(colour + shade[..., None], 0, 255).astype(np.uint8)
    return paper


def _print_fields(image: Image.Image, text: ChequeText) -> None:
    pen = ImageDraw.Draw(image)
    pen.rectangle((14, 14, WIDTH - 15, HEIGHT - 15), outline=PRINT, width=2)
    pen.text((40, 36), "BANK OF EXAMPLES", fill=PRINT, font=font(BOLD_FONT, 30))
    pen.text((40, 76), text.holder, fill=PRINT, font=font(TEXT_FONT, 18))
    pen.text((850, 40), "Date", fill=PRINT, font=font(TEXT_FONT, 16))
    pen.text((905, 34), text.date, fill=(30, 30, 60), font=font(HAND_FONT, 24))
    pen.line((900, 66, 1160, 66), fill=PRINT, width=2)
    pen.text((40, 168), "Pay to the order of", fill=PRINT, font=font(TEXT_FONT, 16))
    pen.text((230, 156), text.payee, fill=(30, 30, 60), font=font(HAND_FONT, 28))
    pen.line((225, 194, 800, 194), fill=PRINT, width=2)
    pen.text((40, 258), "Amount in words", fill=PRINT, font=font(TEXT_FONT, 16))
    pen.line((225, 284, 1160, 284), fill=PRINT, width=2)
    left, top, width, height = AMOUNT_FRAME
    pen.rectangle((left, top, left + width, top + height), outline=PRINT, width=3, fill=(250, 250, 248))
    pen.text((left - 32, top + 18), "€", fill=PRINT, font=font(BOLD_FONT, 32))
    pen.text((40, 400), "Memo", fill=PRINT, font=font(TEXT_FONT, 16))
    pen.line((110, 424, 520, 424), fill=PRINT, width=2)
    pen.line((760, 424, 1160, 424), fill=PRINT, width=2)
    for place, character in enumerate(text.code.text):
        at = CODE_LINE_PLACE[0] + place * CODE_PITCH, CODE_LINE_PLACE[1]
        pen.text(at, character, fill=(20, 20, 20), font=font(CODE_FONT, CODE_FONT_SIZE))


def _sign(pixels: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A signature, and a scribble where the words of the amount stand: smooth curves by chance, nothing to be read."""
    stroke = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(stroke)
    for left, right, middle, rise, turns in ((790, 1120, 395, 26, 7), (240, 900, 268, 9, 30)):
        steps = np.linspace(0, 1, 300)
        x = left + (right - left) * steps + 8 * np.sin(steps * turns * 9 + rng.uniform(0, 6))
        y = middle + rise * np.sin(steps * turns * 6.3 + rng.uniform(0, 6)) * np.cos(steps * 5 + rng.uniform(0, 6))
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=3)
    _ink(pixels, np.asarray(stroke, np.float32) / np.float32(255), (30, 40, 110))


def _write_amount(pixels: NDArray[np.float32], written: WrittenAmount, rng: np.random.Generator) -> None:
    """The amount inside its frame, as large as a hand would write it, at a place by chance."""
    left, top, width, height = AMOUNT_FRAME
    inner_width, inner_height = width - 14, height - 14
    tall, wide = written.ink.shape
    scale = min(inner_width / wide, inner_height / tall) * rng.uniform(0.82, 1.0)
    size = max(1, round(wide * scale)), max(1, round(tall * scale))
    ink = np.asarray(Image.fromarray(written.ink).resize(size, Image.Resampling.BICUBIC))
    x = left + 7 + int(rng.uniform(0, inner_width - size[0] + 1) * 0.6)
    y = top + 7 + int(rng.uniform(0, inner_height - size[1] + 1))
    spread = np.zeros(pixels.shape[:2], np.float32)
    spread[y : y + size[1], x : x + size[0]] = np.clip(ink, 0, 1)
    _ink(pixels, spread, (25, 25, 45))


def _ink(pixels: NDArray[np.float32], ink: NDArray[np.float32], colour: tuple[int, int, int]) -> None:
    """Put ink on the paper, in place."""
    pixels += ink[..., None] * (np.array(colour, np.float32) - pixels)
