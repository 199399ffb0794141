"""Chooses the confidence from which an amount is taken without a person, on labelled pictures that trained nothing.

The curve of risk against coverage says what each threshold accepts and how much of it is wrong. Whole cheques are
rendered around the amounts, so that what photographing and cutting cost is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from cheques.amount_reading import ReadingClient, read_amount
from cheques.rendering.sample_cheques import SampleCheque
from cheques.upload import decode_upload
from cheques.vision.locating import locate_cheque
from pipelines.evaluation.risk_coverage import AcceptedShare, accepted_shares

MAX_PIXELS: Final = 10_000_000
"""Rendered pictures are smaller."""


@dataclass(frozen=True)
class JudgedReading:
    """How sure a reading was, and whether it was right."""

    confidence: float
    is_right: bool


def choose_operating_point(readings: Iterable[JudgedReading], risks: tuple[float, ...]) -> tuple[AcceptedShare, ...]:
    """For each error among accepted amounts, the threshold that accepts most."""
    rows = list(readings)
    confidences = np.array([row.confidence for row in rows], np.float64)
    return accepted_shares(confidences, np.array([row.is_right for row in rows], np.bool_), risks)


def judged_readings(client: ReadingClient, samples: Iterable[SampleCheque]) -> Iterator[JudgedReading]:
    """What the platform reads of rendered cheques; one without a field that was found is unsure and wrong."""
    for sample in samples:
        pixels = decode_upload(sample.picture, len(sample.picture), MAX_PIXELS)
        picture = locate_cheque(pixels).amount_picture
        if picture is None:
            yield JudgedReading(0.0, is_right=False)
        else:
            reading = read_amount(client, picture)
            yield JudgedReading(reading.confidence, reading.text == sample.amount)
