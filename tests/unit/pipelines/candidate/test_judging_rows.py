"""A refreshed file holds the events that production labelled: nothing of what judges may have trained."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.candidate.gate_evidence import collect_gate_evidence
from pipelines.candidate.judging_rows import judging_golden_rows
from pipelines.candidate.row_selection import SAME_EVENT, Rows, select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec
from pipelines.data import Examples, FeedbackRows, Split
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.labels.learnt_labels import LearntLabels
from pipelines.table.table_data import split_rows
from registry.gate.evidence import BestVersion, GateEvidence
from registry.gate.verdict import GatePolicy, gate_verdict
from tests.support.visits_pipeline import CODEC, CONTRACT, logistic_graph, visits_pipeline

DAY = 10.0
"""Seconds that rows of the contract go wrong together."""


def coin_flips(count: int, seed: int, name: str, first: float = 0.0, ages: int = 0) -> Examples:
    """Customers about whom nothing can be known: each has an age of its own, or one of a few, and luck decides."""
    generator = np.random.default_rng(seed)
    drawn = generator.normal(45, 20, count) if not ages else generator.integers(20, 20 + ages, count).astype(float)
    return Examples(
        Batch({"age": drawn.astype(np.float32).astype(np.float64), "plan": np.array(["gold"] * count, dtype=object)}),
        generator.integers(0, 2, count).astype(np.int64),
        name,
        CODEC.rows,
        groups=tuple(f"{name} {row}" for row in range(count)),
        times=first + np.arange(count, dtype=np.float64),
        keys=tuple(f"{name}/{row}" for row in range(count)),
    )


def as_labels(rows: Examples, shift: float = 0.0) -> FeedbackRows:
    """The same events as production recorded them: other keys, nobody's names, a little earlier."""
    assert rows.times is not None
    ids = tuple(f"prediction {row}" for row in range(len(rows)))
    times = rows.times - shift
    return FeedbackRows(rows.batch, rows.labels, "feedback", rows.canonical, ids, keys=ids, times=times)


def table_engine() -> InferenceEngine:
    return table_engine_from_bytes(logistic_graph(np.zeros(3)), CONTRACT, threads=1)


def spec_of(
    split: Split, feedback: FeedbackRows | None, trained_until: float | None, recent: frozenset[str] | None = None
) -> TrainingSpec:
    pipeline = replace(visits_pipeline(split), contract=replace(CONTRACT, block_seconds=int(DAY)))
    champion = Champion(1, table_engine(), 1000, "other rows", trained_until)
    policy = GatePolicy(min_rows=50)
    return TrainingSpec(
        pipeline, pipeline.recipe(), split, feedback, champion, seed=3, reason="t", policy=policy, recent_images=recent
    )


def remembered(rows: Rows, judging: Examples) -> float:
    """How often a model that only remembers what it learnt is right; half is luck."""
    memory = dict(zip(rows.epoch_rows.content_hashes, rows.epoch_rows.labels.tolist(), strict=True))
    answers = [memory.get(content, 0) for content in judging.content_hashes]
    return float(np.mean(np.array(answers) == judging.labels))


@pytest.mark.parametrize("shift", [0.0, 3.0, 25.0])
def test_a_model_that_only_remembers_gains_nothing_from_labels_of_the_files_events(shift: float) -> None:
    file = coin_flips(3000, 1, "file")
    spec = spec_of(split_rows(file), as_labels(file.take(np.arange(1500, 3000)), shift), trained_until=2499.0)
    rows = select_rows(spec)
    judging = judging_golden_rows(spec, rows.golden, rows.feedback, rows.holdout)
    assert judging is not None
    assert len(judging) >= 250
    assert remembered(rows, judging) == pytest.approx(0.5, abs=0.1)
    assert rows.holdout is not None
    assert len(rows.holdout) > 120
    assert not set(judging.content_hashes) & set(rows.holdout.content_hashes), "no event judges twice"
    assert remembered(rows, rows.holdout) == pytest.approx(0.5, abs=0.1)
    assert rows.feedback is not None
    assert len(rows.feedback) > 300, "labels of before the judging days still train"
    assert {label.reason for label in rows.excluded} <= {"known image", "of a judged day"}


def test_no_label_of_a_judging_day_trains_but_since_answers_became_bad() -> None:
    file, labels = coin_flips(2000, 1, "file"), as_labels(coin_flips(1000, 2, "others", first=1500.0))
    split = split_rows(file)
    rows = select_rows(spec_of(split, labels, trained_until=1500.0))
    assert rows.feedback is not None
    assert rows.feedback.times is not None
    assert not ((rows.feedback.times >= 1600.0) & (rows.feedback.times < 2000.0)).any()
    recent = frozenset(key for key, time in zip(labels.keys, labels.times, strict=True) if time >= 1900.0)  # type: ignore[arg-type]
    spec = spec_of(split, labels, 1500.0, recent)
    rows = select_rows(spec)
    assert rows.feedback is not None
    assert rows.feedback.times is not None
    assert ((rows.feedback.times >= 1900.0) & (rows.feedback.times < 2000.0)).sum() > 40
    judging = judging_golden_rows(spec, rows.golden, rows.feedback, rows.holdout)
    assert judging is not None
    assert judging.times is not None
    assert (judging.times.min(), judging.times.max()) == (1600.0, 1899.0), "days that neither has learnt"


def test_contents_that_many_rows_share_name_no_event() -> None:
    file = coin_flips(2000, 1, "file", ages=10)
    labels = as_labels(coin_flips(300, 2, "others", first=3000.0, ages=10))
    rows = select_rows(spec_of(split_rows(file), labels, trained_until=1000.0))
    assert rows.feedback is not None
    assert rows.holdout is not None
    assert len(rows.feedback) + len(rows.holdout) == 300
    assert rows.base_excluded == 0


def test_a_champion_that_has_learnt_nearly_all_golden_days_is_not_compared() -> None:
    file = coin_flips(2000, 1, "file")
    split = split_rows(file)
    assert judging_golden_rows(spec_of(split, None, trained_until=1960.0), split.golden, None) is None
    assert judging_golden_rows(spec_of(split, None, trained_until=None), split.golden, None) is None


def test_labels_since_answers_became_bad_train_though_the_file_holds_their_events_by_now() -> None:
    """A file that is written anew each night: all that came is in it, and the retraining must learn from it."""
    file = coin_flips(2000, 1, "file")
    labels = as_labels(file.take(np.arange(1500, 2000)))
    recent = frozenset(f"prediction {row}" for row in range(350, 500))
    spec = spec_of(split_rows(file), labels, 1500.0, recent)
    rows = select_rows(spec)
    assert rows.feedback is not None
    assert rows.holdout is not None
    assert len(set(rows.feedback.keys) & recent) > 80
    assert len(rows.holdout) > 30
    judging = judging_golden_rows(spec, rows.golden, rows.feedback, rows.holdout)
    assert judging is not None
    assert judging.times is not None
    assert judging.times.max() < 1850.0
    assert remembered(rows, judging) == pytest.approx(0.5, abs=0.1)
    assert remembered(rows, rows.holdout) == pytest.approx(0.5, abs=0.15)


def judged_on_its_own(spec: TrainingSpec) -> TrainingSpec:
    """The same where the champion was judged on these very golden rows: the file is unchanged."""
    assert spec.champion is not None
    return replace(spec, champion=replace(spec.champion, golden_digest=spec.split.golden.digest))


def test_labels_of_golden_rows_do_not_train_where_too_few_would_be_left_to_judge() -> None:
    """60 golden rows, and all of them happened since answers became bad."""
    file = coin_flips(300, 1, "file")
    labels = as_labels(file.take(np.arange(240, 300)))
    spec = judged_on_its_own(spec_of(split_rows(file), labels, 239.0, frozenset(labels.keys)))
    rows = select_rows(spec)
    assert rows.feedback is not None
    assert len(rows.feedback) == 0
    assert rows.golden is spec.split.golden
    judging = judging_golden_rows(spec, rows.golden, rows.feedback, None)
    assert judging is not None
    assert len(judging) == 60
    assert not set(judging.content_hashes) & set(rows.epoch_rows.content_hashes)


def test_golden_rows_that_a_version_learnt_are_none_of_its_own_golden_rows() -> None:
    """An unchanged file: what the first retraining learnt judges neither it nor its successor's champion."""
    file = coin_flips(2000, 1, "file")
    labels = as_labels(file.take(np.arange(1500, 2000)))
    recent = frozenset(f"prediction {row}" for row in range(350, 500))
    spec = judged_on_its_own(spec_of(split_rows(file), labels, 1500.0, recent))
    rows = select_rows(spec)
    assert rows.epoch_rows.times is not None
    assert not set(rows.golden.content_hashes) & set(rows.epoch_rows.content_hashes)
    assert len(rows.golden) == pytest.approx(300, abs=20)
    champion = Champion(2, table_engine(), 1000, rows.golden.digest, float(rows.epoch_rows.times.max()))
    for recent_now in (None, recent):
        later = replace(spec, champion=champion, recent_images=recent_now)
        again = select_rows(later)
        assert judging_golden_rows(later, again.golden, again.feedback, again.holdout) is None
        assert again.holdout is not None
        assert not set(again.holdout.content_hashes) & set(rows.epoch_rows.content_hashes)


@pytest.mark.parametrize("copies", [2, 3, 8])
def test_an_event_does_not_train_and_judge_though_its_content_occurs_several_times(copies: int) -> None:
    """A file without times: of each content as many labels are set aside as rows of the file may be their events."""
    count = 1200 // copies * copies
    once = coin_flips(count // copies, 1, "once").batch
    batch = once.take(np.tile(np.arange(count // copies), copies))
    file = replace(coin_flips(count, 5, "file"), batch=batch, times=None, groups=())
    split = split_rows(file)
    labels = as_labels(replace(split.golden, times=np.zeros(len(split.golden))))
    spec = judged_on_its_own(spec_of(split, labels, None))
    rows = select_rows(spec)
    assert rows.feedback is not None
    assert rows.holdout is not None
    assert (len(rows.feedback), rows.golden) == (0, split.golden)
    judging = judging_golden_rows(spec, rows.golden, rows.feedback, rows.holdout)
    assert judging is not None
    assert len(judging) + len(rows.holdout) <= len(split.golden), "an event judges once"

    as_recent = replace(spec, recent_images=frozenset(labels.keys))
    rows = select_rows(as_recent)
    assert rows.feedback is not None
    assert len(rows.feedback) > 100
    left = rows.golden.ids
    learnt = split.golden.exclude(left)
    pairs = zip(rows.feedback.content_hashes, rows.feedback.labels.tolist(), strict=True)
    assert sorted(pairs) == sorted(zip(learnt.content_hashes, learnt.labels.tolist(), strict=True))


def test_labels_beyond_the_copies_that_the_file_holds_train() -> None:
    file = replace(coin_flips(1000, 1, "file", ages=5), times=None, groups=())
    labels = as_labels(coin_flips(2000, 2, "others", ages=5))
    split = split_rows(file)
    rows = select_rows(judged_on_its_own(spec_of(split, labels, None)))
    assert rows.feedback is not None
    held = sum(label.detail == SAME_EVENT for label in rows.excluded)
    assert held == len(split.golden) + len(split.validation)
    assert len(rows.feedback) > 900


def test_a_held_back_label_of_an_event_that_the_file_teaches_does_not_judge() -> None:
    file = coin_flips(2000, 1, "file")
    labels = as_labels(file.take(np.arange(1000, 2000)))
    spec = judged_on_its_own(spec_of(split_rows(file), labels, 1500.0))
    rows = select_rows(spec)
    assert rows.holdout is not None
    assert rows.base_excluded == 0
    taught = set(spec.split.train.content_hashes + spec.split.validation.content_hashes)
    assert len(rows.holdout) > 80
    assert not set(rows.holdout.content_hashes) & taught


def test_one_label_of_a_golden_row_leaves_the_comparison_with_the_best_on_the_others() -> None:
    file = coin_flips(2000, 1, "file")
    split = split_rows(file)
    labels = as_labels(split.golden.take(np.arange(20)))
    spec = judged_on_its_own(spec_of(split, labels, 1500.0))
    rows = select_rows(spec)
    assert rows.holdout is not None
    assert len(rows.holdout) > 0
    marks = (np.arange(len(split.golden)) % 4 > 0).astype(np.int64)
    best = BestVersion(1, int(marks.sum()), len(marks), marks)
    scores = score_predictions(spec.champion.predictor(split.golden.batch), split.golden.labels, spec.pipeline.classes)  # type: ignore[union-attr]
    evidence = collect_gate_evidence(spec, rows, table_engine(), 1000, scores, best)
    assert isinstance(evidence, GateEvidence)
    assert evidence.golden.n == len(split.golden) - len(rows.holdout)
    assert evidence.best is not None
    assert evidence.best.right is not None
    held = set(rows.holdout.content_hashes)
    apart = [row for row, content in enumerate(split.golden.content_hashes) if content not in held]
    assert evidence.best.right.tolist() == marks[apart].tolist()
    assert evidence.labels == 20
    assert evidence.labels_set_aside == 20 - len(rows.holdout)


def test_a_golden_row_whose_label_taught_the_champion_under_another_key_does_not_judge() -> None:
    file = coin_flips(2000, 1, "file")
    split = split_rows(file)
    reported = as_labels(split.golden.take(np.arange(200, 300)), shift=1000.0)  # the file has the outcome's date
    labels = replace(reported, trains_only=(True,) * len(reported))
    spec = spec_of(split, labels, trained_until=1500.0)
    assert spec.champion is not None
    taught = replace(spec, champion=replace(spec.champion, learnt=LearntLabels(rows=frozenset(labels.ids))))
    for each, expected in ((spec, 100), (taught, 0)):
        judging = judging_golden_rows(each, split.golden, None)
        assert judging is not None
        assert len(set(judging.content_hashes) & set(labels.content_hashes)) == expected


def test_what_nobody_knows_to_be_unlearnt_is_not_compared() -> None:
    file = coin_flips(2000, 1, "file")
    split = split_rows(file)
    for digest in ("", "other rows"):
        spec = spec_of(split, None, None)
        assert spec.champion is not None
        spec = replace(spec, champion=replace(spec.champion, golden_digest=digest))
        scores = score_predictions(table_engine()(split.golden.batch), split.golden.labels, spec.pipeline.classes)
        evidence = collect_gate_evidence(spec, select_rows(spec), table_engine(), 1000, scores, None)
        assert isinstance(evidence, GateEvidence)
        assert not evidence.unlearnt
        assert gate_verdict(evidence).outcome == "inconclusive"
