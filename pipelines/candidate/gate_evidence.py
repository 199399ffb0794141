"""Collects the gate's evidence: predictions of candidate and champion on the same rows, and their latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.data import ImageSet
from pipelines.engines.latency import measure_interleaved
from pipelines.engines.torch_engine import TorchEngine, limit_threads
from pipelines.evaluation.classification_scores import ClassificationScores
from pipelines.image.corruptions import SEVERITIES, corrupt, mild_corruptions
from registry.catalog import GOLDEN_DIGEST_TAG, QUARANTINE_TAG, RegisteredVersion
from registry.gate.evidence import BestVersion, FirstVersionEvidence, GateEvidence, PairedConfidence
from registry.gate.paired_comparison import PairedPredictions
from registry.gate.row_outcomes import ROWS_FILE, GateRowOutcomes, RowOutcomes
from registry.runs import TrackingStore

if TYPE_CHECKING:
    from pipelines.candidate.row_selection import Rows
    from pipelines.candidate.training_spec import Champion, TrainingSpec

LATENCY_ROUNDS = 15
LATENCY_CALLS = 60
MILD_CORRUPTION_ROWS = 1000
SEVERE_CORRUPTION_ROWS = 400
SEVERE_CORRUPTION_LEVEL = 3
PROMOTION_TAG = "mlplatform.promotion"
"""Borne by every version that ever was champion."""


def collect_gate_evidence(
    spec: TrainingSpec,
    selection: Rows,
    candidate: TorchEngine,
    size_bytes: int,
    scores: ClassificationScores,
    best: BestVersion | None,
    attempt: int = 1,
) -> GateEvidence | FirstVersionEvidence:
    """What the gate will look at; a first version has only its golden counts to show."""
    champion, golden = spec.champion, spec.split.golden
    if champion is None:
        return FirstVersionEvidence(scores.correct, scores.n)
    recent = selection.holdout if selection.holdout is not None and len(selection.holdout) else None
    before, after = champion.predictor(golden.batch), candidate(golden.batch)
    champion_ms, candidate_ms = interleaved_latency(champion.predictor, candidate)
    return GateEvidence(
        golden=PairedPredictions(golden.labels, before.argmax(axis=1), after.argmax(axis=1), "golden"),
        feedback=None if recent is None else _recent_comparison(spec, champion.predictor, candidate, recent),
        classes=spec.pipeline.classes,
        champion_latency_p95_ms=champion_ms,
        candidate_latency_p95_ms=candidate_ms,
        champion_bytes=champion.size_bytes,
        candidate_bytes=size_bytes,
        policy=spec.policy,
        golden_digest=golden.digest,
        champion_digest=champion.golden_digest,
        best=best,
        confidence=PairedConfidence(_top_probability(before), _top_probability(after)),
        robustness=_mild_corruption_comparisons(champion.predictor, candidate, golden),
        strong=_severe_corruption_comparisons(champion.predictor, candidate, golden),
        groups=_group_tags(spec, golden.ids + (() if recent is None else recent.ids)),
        attempt=attempt,
    )


def gate_row_outcomes(spec: TrainingSpec, selection: Rows, candidate: TorchEngine) -> GateRowOutcomes:
    """Which golden and recent images the candidate gets right, to be kept with it."""
    recent = selection.holdout if selection.holdout is not None and len(selection.holdout) else None
    return GateRowOutcomes(
        _row_outcomes(candidate, spec.split.golden), None if recent is None else _row_outcomes(candidate, recent)
    )


def attempt_number(versions: Sequence[RegisteredVersion], champion: Champion | None, golden: ImageSet) -> int:
    """Which candidate comes next, from 1, of those compared on these golden rows since the last promotion.

    Counted are versions newer than every one that ever was champion, whoever trained them and whatever the gate said. A
    version that noted no digest is counted.
    """
    if champion is None:
        return 1
    promoted = [version.version for version in versions if PROMOTION_TAG in version.tags]
    newest = max([champion.version, *promoted])
    return 1 + sum(
        version.version > newest and version.tags.get(GOLDEN_DIGEST_TAG, golden.digest) == golden.digest
        for version in versions
    )


def best_past_champion(
    tracking: TrackingStore, versions: Sequence[RegisteredVersion], champion: Champion | None, golden: ImageSet
) -> BestVersion | None:
    """The version with the most golden rows right among all that were champion; None when the champion is that one.

    Only scores on these very golden rows count; a version that noted no digest is believed by its number of rows. One
    in quarantine sets no record: what it did on the golden set did not last.
    """
    if champion is None:
        return None
    judged = [
        version
        for version in versions
        if (version.version == champion.version or _was_champion(version)) and _has_comparable_score(version, golden)
    ]
    best = max(
        judged, key=lambda version: (_golden_correct(version), version.version == champion.version), default=None
    )
    if best is None or best.version == champion.version:
        return None
    text = tracking.read_text(best.run_id, ROWS_FILE)
    marks = None if text is None else GateRowOutcomes.from_json(text).golden
    right = marks.as_array if marks is not None and marks.digest == golden.digest else None
    return BestVersion(best.version, _golden_correct(best), len(golden), right)


def interleaved_latency(
    champion: TorchEngine, candidate: TorchEngine, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """p95 milliseconds per image of both, of the round whose ratio is the median one.

    They are called by turns, so that whatever else the host does hits both: a pause of the machine decides nothing.
    One thread computes: several that wait for one another, on a machine whose cores are busy, measure the machine.
    """
    with limit_threads(1):
        rounds = [measure_interleaved(champion, candidate, LATENCY_CALLS, clock=clock) for _ in range(LATENCY_ROUNDS)]
    pairs = [(float(np.percentile(first, 95)), float(np.percentile(second, 95))) for first, second in rounds]
    return sorted(pairs, key=lambda pair: pair[1] / pair[0])[LATENCY_ROUNDS // 2]


def _was_champion(version: RegisteredVersion) -> bool:
    return PROMOTION_TAG in version.tags and QUARANTINE_TAG not in version.tags


def _has_comparable_score(version: RegisteredVersion, golden: ImageSet) -> bool:
    noted = version.tags.get(GOLDEN_DIGEST_TAG, golden.digest)
    counted = "golden_correct" in version.tags and version.tags.get("golden_total") == str(len(golden))
    return counted and noted == golden.digest


def _golden_correct(version: RegisteredVersion) -> int:
    return int(version.tags["golden_correct"])


def _paired_comparison(champion: TorchEngine, candidate: TorchEngine, rows: ImageSet, origin: str) -> PairedPredictions:
    return PairedPredictions(
        labels=rows.labels,
        champion=champion(rows.batch).argmax(axis=1),
        candidate=candidate(rows.batch).argmax(axis=1),
        origin=origin,
    )


def _recent_comparison(
    spec: TrainingSpec, champion: TorchEngine, candidate: TorchEngine, rows: ImageSet
) -> PairedPredictions:
    """Both models on the held-back rows, each of which counts by its share and belongs to its block."""
    shares = np.array([spec.judging_shares.get(i, 1.0) for i in rows.ids])
    names = [spec.blocks.get(i, i) for i in rows.ids]
    blocks = np.unique(np.array(names), return_inverse=True)[1]
    return replace(_paired_comparison(champion, candidate, rows, "feedback"), shares=shares, blocks=blocks)


def _mild_corruption_comparisons(
    champion: TorchEngine, candidate: TorchEngine, golden: ImageSet
) -> dict[str, PairedPredictions]:
    some = golden.take(np.arange(min(len(golden), MILD_CORRUPTION_ROWS)))
    return {
        kind: _paired_comparison(champion, candidate, ImageSet(images, some.labels, some.name), kind)
        for kind, images in mild_corruptions(some.images).items()
    }


def _severe_corruption_comparisons(
    champion: TorchEngine, candidate: TorchEngine, golden: ImageSet
) -> dict[str, PairedPredictions]:
    """Some golden rows, drawn by hash, under every corruption of the card's table at its strongest level there."""
    by_hash = np.argsort(np.array(golden.ids), kind="stable")
    some = golden.take(by_hash[:SEVERE_CORRUPTION_ROWS])
    return {
        f"{kind} {SEVERE_CORRUPTION_LEVEL}": _paired_comparison(
            champion,
            candidate,
            ImageSet(corrupt(some.images, kind, SEVERE_CORRUPTION_LEVEL), some.labels, some.name),
            kind,
        )
        for kind in SEVERITIES
    }


def _row_outcomes(candidate: TorchEngine, rows: ImageSet) -> RowOutcomes:
    return RowOutcomes.from_mask(rows.digest, rows.ids, candidate(rows.batch).argmax(axis=1) == rows.labels)


def _top_probability(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    sure: NDArray[np.float64] = np.clip(probabilities.max(axis=1).astype(np.float64), 0.0, 1.0)
    return sure


def _group_tags(spec: TrainingSpec, ids: tuple[str, ...]) -> tuple[str, ...]:
    tags = tuple(spec.group_tags.get(i, "") for i in ids)
    return tags if any(tags) else ()
