"""The evidence for the gate, gathered from candidate and champion on the same rows; it decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate.training_spec import GOLDEN_DIGEST_TAG
from pipelines.data import ImageSet
from pipelines.engines.torch_engine import Predictor, in_turns
from pipelines.evaluation.classification_scores import Judgement
from pipelines.image.corruptions import LEVELS, corrupted, disturbed
from registry.catalog import QUARANTINE_TAG, Catalog, Version
from registry.gate.evidence import Best, Confidence, Evidence, First
from registry.gate.paired_comparison import Comparison
from registry.gate.row_outcomes import ROWS_FILE, GateRows, Marks
from registry.runs import Tracking

if TYPE_CHECKING:
    from pipelines.candidate.row_selection import Rows
    from pipelines.candidate.training_spec import Champion, Order

LATENCY_ROUNDS = 15
LATENCY_CALLS = 60
DISTURBED_ROWS = 1000
STRONG_ROWS = 400
STRONG_LEVEL = 3
PROMOTION_TAG = "mlplatform.promotion"
"""Borne by every version that ever was champion."""


def gather(
    order: Order, rows: Rows, made: Predictor, size_bytes: int, judgement: Judgement, best: Best | None
) -> Evidence | First:
    """What the gate will look at; a first version has only its golden counts to show."""
    champion, golden = order.champion, order.split.golden
    if champion is None:
        return First(judgement.correct, judgement.n)
    recent = rows.held_back if rows.held_back is not None and len(rows.held_back) else None
    before, after = champion.predictor(golden.images), made(golden.images)
    champion_ms, candidate_ms = side_by_side(champion.predictor, made)
    return Evidence(
        golden=Comparison(golden.labels, before.argmax(axis=1), after.argmax(axis=1), "golden"),
        feedback=None if recent is None else _paired(champion.predictor, made, recent, "feedback"),
        classes=order.family.classes,
        champion_latency_p95_ms=champion_ms,
        candidate_latency_p95_ms=candidate_ms,
        champion_bytes=champion.size_bytes,
        candidate_bytes=size_bytes,
        policy=order.policy,
        golden_digest=golden.digest,
        champion_digest=champion.golden_digest,
        best=best,
        confidence=Confidence(_confidence(before), _confidence(after)),
        robustness=_under_disturbance(champion.predictor, made, golden),
        strong=_under_strong_disturbance(champion.predictor, made, golden),
        groups=_tags(order, golden.ids + (() if recent is None else recent.ids)),
    )


def gate_rows(order: Order, rows: Rows, made: Predictor) -> GateRows:
    """Which golden and recent images the candidate gets right, to be kept with it."""
    recent = rows.held_back if rows.held_back is not None and len(rows.held_back) else None
    return GateRows(_marks(made, order.split.golden), None if recent is None else _marks(made, recent))


def best_ever(
    tracking: Tracking, catalog: Catalog, name: str, champion: Champion | None, golden: ImageSet
) -> Best | None:
    """The version with the most golden rows right among all that were champion; None when the champion is that one.

    Only scores on these very golden rows count; a version that noted no digest is believed by its number of rows. One
    in quarantine sets no record: what it did on the golden set did not last.
    """
    if champion is None:
        return None
    judged = [
        version
        for version in catalog.versions(name)
        if (version.version == champion.version or _was_trusted(version)) and _scored_on(version, golden)
    ]
    best = max(judged, key=lambda version: (_correct(version), version.version == champion.version), default=None)
    if best is None or best.version == champion.version:
        return None
    text = tracking.read_text(best.run_id, ROWS_FILE)
    marks = None if text is None else GateRows.from_json(text).golden
    right = marks.bits if marks is not None and marks.digest == golden.digest else None
    return Best(best.version, _correct(best), len(golden), right)


def side_by_side(
    champion: Predictor, candidate: Predictor, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """p95 milliseconds per image of both, of the round whose ratio is the median one.

    They are called by turns, so that whatever else the host does hits both: a pause of the machine decides nothing.
    """
    rounds = [in_turns(champion, candidate, LATENCY_CALLS, clock=clock) for _ in range(LATENCY_ROUNDS)]
    pairs = [(float(np.percentile(first, 95)), float(np.percentile(second, 95))) for first, second in rounds]
    return sorted(pairs, key=lambda pair: pair[1] / pair[0])[LATENCY_ROUNDS // 2]


def _was_trusted(version: Version) -> bool:
    return PROMOTION_TAG in version.tags and QUARANTINE_TAG not in version.tags


def _scored_on(version: Version, golden: ImageSet) -> bool:
    noted = version.tags.get(GOLDEN_DIGEST_TAG, golden.digest)
    counted = "golden_correct" in version.tags and version.tags.get("golden_total") == str(len(golden))
    return counted and noted == golden.digest


def _correct(version: Version) -> int:
    return int(version.tags["golden_correct"])


def _paired(champion: Predictor, candidate: Predictor, rows: ImageSet, origin: str) -> Comparison:
    return Comparison(
        labels=rows.labels,
        champion=champion(rows.images).argmax(axis=1),
        candidate=candidate(rows.images).argmax(axis=1),
        origin=origin,
    )


def _under_disturbance(champion: Predictor, candidate: Predictor, golden: ImageSet) -> dict[str, Comparison]:
    some = golden.take(np.arange(min(len(golden), DISTURBED_ROWS)))
    return {
        kind: _paired(champion, candidate, ImageSet(images, some.labels, some.name), kind)
        for kind, images in disturbed(some.images).items()
    }


def _under_strong_disturbance(champion: Predictor, candidate: Predictor, golden: ImageSet) -> dict[str, Comparison]:
    """Some golden rows, drawn by hash, under every corruption of the card's table at its strongest level there."""
    by_hash = np.argsort(np.array(golden.ids), kind="stable")
    some = golden.take(by_hash[:STRONG_ROWS])
    return {
        f"{kind} {STRONG_LEVEL}": _paired(
            champion, candidate, ImageSet(corrupted(some.images, kind, STRONG_LEVEL), some.labels, some.name), kind
        )
        for kind in LEVELS
    }


def _marks(made: Predictor, rows: ImageSet) -> Marks:
    return Marks.of(rows.digest, rows.ids, made(rows.images).argmax(axis=1) == rows.labels)


def _confidence(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    sure: NDArray[np.float64] = np.clip(probabilities.max(axis=1).astype(np.float64), 0.0, 1.0)
    return sure


def _tags(order: Order, ids: tuple[str, ...]) -> tuple[str, ...]:
    tags = tuple(order.groups.get(i, "") for i in ids)
    return tags if any(tags) else ()
