"""Collects the gate's evidence: predictions of candidate and champion on the same rows, and their latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import judge_answers
from pipelines.batch import Batch
from pipelines.candidate.judging_rows import days_of, judging_golden_rows
from pipelines.data import Examples
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.latency import measure_interleaved
from pipelines.evaluation.classification_scores import ClassificationScores
from pipelines.labels.label_curation import ExclusionReason
from registry.catalog import GOLDEN_DIGEST_TAG, QUARANTINE_TAG, RegisteredVersion
from registry.gate.evidence import BestVersion, FirstVersionEvidence, GateEvidence, PairedConfidence
from registry.gate.paired_comparison import PairedPredictions
from registry.gate.row_outcomes import ROWS_FILE, GateRowOutcomes, RowOutcomes
from registry.prediction_task import Task
from registry.runs import TrackingStore

if TYPE_CHECKING:
    from pipelines.candidate.row_selection import Rows
    from pipelines.candidate.training_spec import Champion, TrainingSpec

LATENCY_ROUNDS = 15
LATENCY_CALLS = 60
MILD_DISTURBANCE_ROWS = 1000
SEVERE_DISTURBANCE_ROWS = 400
SET_ASIDE_FOR_THE_FILE: Final[tuple[ExclusionReason, ...]] = (
    "known image",
    "of a judged day",
    "of a judged group",
)
PROMOTION_TAG = "mlplatform.promotion"
"""Borne by every version that ever was champion."""


def collect_gate_evidence(
    spec: TrainingSpec,
    selection: Rows,
    candidate: InferenceEngine,
    size_bytes: int,
    scores: ClassificationScores,
    best: BestVersion | None,
    attempt: int = 1,
) -> GateEvidence | FirstVersionEvidence:
    """What the gate will look at; a first version has only its golden counts to show."""
    champion = spec.champion
    if champion is None:
        return FirstVersionEvidence(scores.correct, scores.n, spec.pipeline.first_version_floor(selection.golden))
    recent = selection.holdout if selection.holdout is not None and len(selection.holdout) else None
    judging = judging_golden_rows(spec, selection.golden, selection.feedback, recent)
    golden = selection.golden if judging is None else judging
    days = days_of(golden, spec.pipeline.contract.block_seconds)
    task = spec.pipeline.contract.task
    before = judge_answers(task, champion.predictor(golden.batch), golden.labels)
    after = judge_answers(task, candidate(golden.batch), golden.labels)
    champion_ms, candidate_ms = interleaved_latency(champion.predictor, candidate)
    return GateEvidence(
        golden=PairedPredictions(before.labels, before.answers, after.answers, "golden", blocks=days),
        feedback=None if recent is None else _recent_comparison(spec, champion.predictor, candidate, recent),
        classes=spec.pipeline.counted_names,
        champion_latency_p95_ms=champion_ms,
        candidate_latency_p95_ms=candidate_ms,
        champion_bytes=champion.size_bytes,
        candidate_bytes=size_bytes,
        policy=spec.policy,
        golden_digest=golden.digest,
        champion_digest=champion.golden_digest if judging is None else golden.digest,
        unlearnt=judging is not None or spec.pipeline.contract.truth != "event",
        best=None if best is None else _on_rows(best, spec.split.golden, golden),
        confidence=PairedConfidence(before.confidences, after.confidences),
        robustness=_mild_disturbance_comparisons(spec, golden, champion.predictor, candidate),
        strong=_severe_disturbance_comparisons(spec, golden, champion.predictor, candidate),
        groups=_group_tags(spec, golden.ids + (() if recent is None else recent.ids)),
        attempt=attempt,
        labels=0 if spec.feedback is None else len(spec.feedback),
        labels_set_aside=sum(label.reason in SET_ASIDE_FOR_THE_FILE for label in selection.excluded),
    )


def gate_row_outcomes(spec: TrainingSpec, selection: Rows, candidate: InferenceEngine) -> GateRowOutcomes:
    """Which golden and recent images the candidate gets right, to be kept with it."""
    recent = selection.holdout if selection.holdout is not None and len(selection.holdout) else None
    task = spec.pipeline.contract.task
    return GateRowOutcomes(
        _row_outcomes(task, candidate, selection.golden),
        None if recent is None else _row_outcomes(task, candidate, recent),
    )


def attempt_number(versions: Sequence[RegisteredVersion], champion: Champion | None, golden: Examples) -> int:
    """Which candidate comes next, from 1, of those compared on these golden rows since the last promotion.

    Counted are versions newer than every one that ever was champion, whoever trained them and whatever the gate said. A
    version that noted no digest is counted, and where rows are events every version is: its golden rows move on with
    the file, and are without those it learnt, so that the rows of one comparison are also in the next.
    """
    if champion is None:
        return 1
    are_events = bool(golden.keys)
    promoted = [version.version for version in versions if PROMOTION_TAG in version.tags]
    newest = max([champion.version, *promoted])
    return 1 + sum(
        version.version > newest and (are_events or version.tags.get(GOLDEN_DIGEST_TAG, golden.digest) == golden.digest)
        for version in versions
    )


def best_past_champion(
    tracking: TrackingStore, versions: Sequence[RegisteredVersion], champion: Champion | None, golden: Examples
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
    champion: InferenceEngine, candidate: InferenceEngine, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """p95 milliseconds per image of both, of the round whose ratio is the median one.

    They are called by turns, so that whatever else the host does hits both: a pause of the machine decides nothing.
    One thread computes: several that wait for one another, on a machine whose cores are busy, measure the machine.
    """
    with champion.limited_threads(1), candidate.limited_threads(1):
        rounds = [measure_interleaved(champion, candidate, LATENCY_CALLS, clock=clock) for _ in range(LATENCY_ROUNDS)]
    pairs = [(float(np.percentile(first, 95)), float(np.percentile(second, 95))) for first, second in rounds]
    return sorted(pairs, key=lambda pair: pair[1] / pair[0])[LATENCY_ROUNDS // 2]


def _on_rows(best: BestVersion, whole: Examples, golden: Examples) -> BestVersion:
    """The record on those of all golden rows that judge now; counts alone stay as they are."""
    if best.right is None or golden.digest == whole.digest or not len(golden):
        return best
    places = {i: place for place, i in enumerate(whole.ids)}
    right = best.right[[places[i] for i in golden.ids]]
    return BestVersion(best.version, int(right.sum()), len(right), right)


def _was_champion(version: RegisteredVersion) -> bool:
    return PROMOTION_TAG in version.tags and QUARANTINE_TAG not in version.tags


def _has_comparable_score(version: RegisteredVersion, golden: Examples) -> bool:
    noted = version.tags.get(GOLDEN_DIGEST_TAG, golden.digest)
    counted = "golden_correct" in version.tags and version.tags.get("golden_total") == str(len(golden))
    return counted and noted == golden.digest


def _golden_correct(version: RegisteredVersion) -> int:
    return int(version.tags["golden_correct"])


def _paired_comparison(
    spec: TrainingSpec,
    champion: InferenceEngine,
    candidate: InferenceEngine,
    batch: Batch,
    labels: NDArray[np.int64],
    origin: str,
) -> PairedPredictions:
    task = spec.pipeline.contract.task
    before, after = (judge_answers(task, engine(batch), labels) for engine in (champion, candidate))
    return PairedPredictions(before.labels, before.answers, after.answers, origin)


def _recent_comparison(
    spec: TrainingSpec, champion: InferenceEngine, candidate: InferenceEngine, rows: Examples
) -> PairedPredictions:
    """Both models on the held-back rows, each of which counts by its share and belongs to its block."""
    shares = np.array([spec.judging_shares.get(i, 1.0) for i in rows.ids])
    names = [spec.blocks.get(i, i) for i in rows.ids]
    blocks = np.unique(np.array(names), return_inverse=True)[1]
    return replace(
        _paired_comparison(spec, champion, candidate, rows.batch, rows.labels, "feedback"),
        shares=shares,
        blocks=blocks,
    )


def _mild_disturbance_comparisons(
    spec: TrainingSpec, golden: Examples, champion: InferenceEngine, candidate: InferenceEngine
) -> dict[str, PairedPredictions]:
    some = golden.take(np.arange(min(len(golden), MILD_DISTURBANCE_ROWS)))
    return {
        kind: _paired_comparison(spec, champion, candidate, batch, some.labels, kind)
        for kind, _, batch in spec.pipeline.evaluation.mild_disturbances(some.batch)
    }


def _severe_disturbance_comparisons(
    spec: TrainingSpec, golden: Examples, champion: InferenceEngine, candidate: InferenceEngine
) -> dict[str, PairedPredictions]:
    """Some golden rows, drawn by hash, under every severe disturbance."""
    by_hash = np.argsort(np.array(golden.ids), kind="stable")
    some = golden.take(by_hash[:SEVERE_DISTURBANCE_ROWS])
    return {
        f"{kind} {level:g}": _paired_comparison(spec, champion, candidate, batch, some.labels, kind)
        for kind, level, batch in spec.pipeline.evaluation.severe_disturbances(some.batch)
    }


def _row_outcomes(task: Task, candidate: InferenceEngine, rows: Examples) -> RowOutcomes:
    judged = judge_answers(task, candidate(rows.batch), rows.labels)
    return RowOutcomes.from_mask(rows.digest, rows.ids, judged.right)


def _group_tags(spec: TrainingSpec, ids: tuple[str, ...]) -> tuple[str, ...]:
    tags = tuple(spec.group_tags.get(i, "") for i in ids)
    return tags if any(tags) else ()
