"""Finds near-duplicates: images that show the same thing, moved or changed a little.

Two images are the same when one is the other moved, turned, brightened, blurred or made noisy by a little. Both are
centred on their ink; the part of the candidate that small changes of the other cannot explain is measured (tangent
distance: Simard, LeCun and Denker, "Efficient Pattern Recognition Using a New Transformation Distance", 1993).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

Floats = NDArray[np.float32]
Spectra = NDArray[np.complex64]

MAX_UNEXPLAINED_ENERGY = 0.004
"""Two images are the same up to this share of energy; docs/LOG.md has the curve it was chosen from."""
MIN_FINGERPRINT_COSINE = 0.95
"""Cosine of two fingerprints below which the finer look is not worth it."""
MAX_NEIGHBOURS = 30
INK_THRESHOLD = 0.25
"""Pixels that differ from the ground by less than this share of the greatest difference carry no ink."""
REFERENCE_SIDE = 28
MARGIN = 4
SAMPLE_STEP = 2
CHUNK_ROWS = 1000


def fingerprint(images: NDArray[np.uint8]) -> Floats:
    """Unit vectors (n, d) of one or more uint8 images (n, h, w): centred, softened, free of light and contrast.

    An image of one grey has the zero vector, which is like nothing.
    """
    return _normalised_vectors(
        np.concatenate(
            [_subsampled_vectors(_inverse_spectrum(_centred_spectra(part), part), part) for part in _chunks(images)]
        )
    )


def near_duplicate_mask(
    candidates: NDArray[np.uint8], protected: NDArray[np.uint8], *, max_unexplained: float = MAX_UNEXPLAINED_ENERGY
) -> NDArray[np.bool_]:
    """Which candidates (n, h, w) show the same as any protected image (m, h, w); both uint8.

    Tolerates about 2 pixels, 3 degrees, a fifth of the contrast, mild noise and recompression. A copy always counts.
    """
    if candidates.shape[1:] != protected.shape[1:]:
        raise DataError(
            f"candidates of {candidates.shape[1:]} cannot be held against images of {protected.shape[1:]}; "
            "resize them first"
        )
    copies = {image.tobytes() for image in protected}
    is_duplicate = np.array([image.tobytes() in copies for image in candidates], dtype=bool)
    if not len(candidates) or not len(protected):
        return is_duplicate
    spans = np.concatenate([_tangent_bases(part) for part in _chunks(protected)])
    protected_prints = fingerprint(protected)
    for start in range(0, len(candidates), CHUNK_ROWS):
        prints = fingerprint(candidates[start : start + CHUNK_ROWS])
        explained = _best_match(prints, protected_prints, spans)[1]
        is_duplicate[start : start + len(prints)] |= explained >= 1 - max_unexplained
    return is_duplicate


def first_occurrence_indices(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each image (n, h, w) the index of the first that shows the same thing, (n,): its own where it is new.

    Each is compared with such first ones only, so a chain of images that resemble their neighbours is no one image.
    """
    first_indices = np.arange(len(images))
    firsts = np.zeros(0, dtype=np.int64)
    fingerprints = fingerprint(images) if len(images) else np.zeros((0, 0), dtype=np.float32)
    spans = np.concatenate([_tangent_bases(part) for part in _chunks(images)]) if len(images) else fingerprints
    by_bytes: dict[bytes, int] = {}
    for start in range(0, len(images), CHUNK_ROWS):
        chunk_indices = np.arange(start, min(start + CHUNK_ROWS, len(images)))
        if len(firsts):
            nearest, shares = _best_match(fingerprints[chunk_indices], fingerprints[firsts], spans[firsts])
            is_match = shares >= 1 - MAX_UNEXPLAINED_ENERGY
            first_indices[chunk_indices[is_match]] = firsts[nearest[is_match]]
        new_indices: list[int] = []
        for index in chunk_indices.tolist():
            identical_index = by_bytes.setdefault(images[index].tobytes(), index)
            if identical_index != index:
                first_indices[index] = first_indices[identical_index]
            elif first_indices[index] == index:
                first_indices[index] = _first_match(index, new_indices, fingerprints, spans)
                new_indices += [index] if first_indices[index] == index else []
        firsts = np.append(firsts, new_indices)
    return first_indices


def _first_match(index: int, candidates: list[int], fingerprints: Floats, spans: Floats) -> int:
    """The first of these that shows the same as the image at an index, or the index itself."""
    if not candidates:
        return index
    neighbours = np.array(candidates, dtype=np.int64)[
        fingerprints[candidates] @ fingerprints[index] >= MIN_FINGERPRINT_COSINE
    ]
    shares = ((spans[neighbours] @ fingerprints[index]) ** 2).sum(axis=1)
    return next((int(other) for other in neighbours[shares >= 1 - MAX_UNEXPLAINED_ENERGY]), index)


def _best_match(fingerprints: Floats, reference: Floats, spans: Floats) -> tuple[NDArray[np.intp], Floats]:
    """For each fingerprint (n,) the reference that explains most of it, of its nearest, and what share that is."""
    cosines = fingerprints @ reference.T
    nearest = np.argpartition(-cosines, min(MAX_NEIGHBOURS, len(reference)) - 1, axis=1)[:, :MAX_NEIGHBOURS]
    row, rank = np.nonzero(np.take_along_axis(cosines, nearest, axis=1) >= MIN_FINGERPRINT_COSINE)
    reference_indices, explained = nearest[row, rank], np.zeros(len(row), dtype=np.float32)
    for first in range(0, len(row), CHUNK_ROWS):
        part = slice(first, first + CHUNK_ROWS)
        explained[part] = ((spans[reference_indices[part]] @ fingerprints[row[part], :, None])[..., 0] ** 2).sum(axis=1)
    best, shares = np.zeros(len(fingerprints), dtype=np.intp), np.zeros(len(fingerprints), dtype=np.float32)
    order = np.argsort(explained, kind="stable")  # of one fingerprint's the greatest is written last
    best[row[order]], shares[row[order]] = reference_indices[order], explained[order]
    return best, shares


def _tangent_bases(images: NDArray[np.uint8]) -> Floats:
    """Orthonormal rows (n, 6, d): each image and how moving down, right, turning (twice) and blurring change it."""
    waves = _centred_spectra(images)
    down, right = _derivative_operators(images)
    turn = _rotation_derivative(waves, images)
    views = [
        _inverse_spectrum(waves, images),
        _inverse_spectrum(waves * down, images),
        _inverse_spectrum(waves * right, images),
        turn,
        _rotation_derivative(np.fft.rfft2(turn).astype(np.complex64), images),
        _inverse_spectrum(waves * (down**2 + right**2), images),
    ]
    columns = np.stack([_normalised_vectors(_subsampled_vectors(view, images)) for view in views], axis=2)
    return np.linalg.qr(columns).Q.transpose(0, 2, 1)


def _centred_spectra(images: NDArray[np.uint8]) -> Spectra:
    """The spectrum of each image less its ground, moved so that its ink is in the middle, and softened."""
    light = images.astype(np.float32)
    light -= np.median(light, axis=(1, 2), keepdims=True)
    down, right = _derivative_operators(images)
    below, beside = _ink_offset(np.abs(light))
    padded = np.pad(light, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    softness = (images.shape[1] / REFERENCE_SIDE) ** 2 / 2
    phase = np.exp(down * below + right * beside + softness * (down**2 + right**2))
    waves: Spectra = (np.fft.rfft2(padded) * phase).astype(np.complex64)
    return waves


def _derivative_operators(images: NDArray[np.uint8]) -> tuple[Spectra, Spectra]:
    """What a spectrum of the padded images is multiplied with to take the slope down, and the slope to the right."""
    height, width = (side + 2 * MARGIN for side in images.shape[1:])
    down = 2j * np.pi * np.fft.fftfreq(height)[:, None]
    right = 2j * np.pi * np.fft.rfftfreq(width)[None]
    return down.astype(np.complex64), right.astype(np.complex64)


def _inverse_spectrum(waves: Spectra, images: NDArray[np.uint8]) -> Floats:
    """Back from the spectrum: (n, h + 2 margins, w + 2 margins)."""
    height, width = (side + 2 * MARGIN for side in images.shape[1:])
    return np.fft.irfft2(waves, s=(height, width)).astype(np.float32)


def _rotation_derivative(waves: Spectra, images: NDArray[np.uint8]) -> Floats:
    """How each image changes when it is turned about its middle."""
    down, right = _derivative_operators(images)
    height, width = (side + 2 * MARGIN for side in images.shape[1:])
    ys = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None]
    xs = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None]
    change: Floats = xs * _inverse_spectrum(waves * down, images) - ys * _inverse_spectrum(waves * right, images)
    return change


def _subsampled_vectors(views: Floats, images: NDArray[np.uint8]) -> Floats:
    """Every second pixel within the margins, as vectors (n, d) of mean zero; softened, they lose nothing by it."""
    height, width = images.shape[1:]
    inner = views[:, MARGIN : MARGIN + height : SAMPLE_STEP, MARGIN : MARGIN + width : SAMPLE_STEP]
    flat = inner.reshape(len(images), -1)
    even: Floats = flat - flat.mean(axis=1, keepdims=True)
    return even


def _ink_offset(difference: Floats) -> tuple[Floats, Floats]:
    """How far the ink of each image (n, h, w) lies below and right of the middle, each (n, 1, 1), in pixels."""
    _, height, width = difference.shape
    ink = np.maximum(difference - INK_THRESHOLD * difference.max(axis=(1, 2), keepdims=True), 0)
    total = np.maximum(ink.sum(axis=(1, 2)), np.finfo(np.float32).tiny)
    down = ink.sum(axis=2) @ (np.arange(height, dtype=np.float32) - (height - 1) / 2) / total
    right = ink.sum(axis=1) @ (np.arange(width, dtype=np.float32) - (width - 1) / 2) / total
    return down[:, None, None], right[:, None, None]


def _normalised_vectors(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit


def _chunks(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [images[i : i + CHUNK_ROWS] for i in range(0, len(images), CHUNK_ROWS)]
