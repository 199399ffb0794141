"""The evidence for the gate."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.candidate.gate_evidence import (
    attempt_number,
    best_past_champion,
    collect_gate_evidence,
    gate_row_outcomes,
    interleaved_latency,
)
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec
from pipelines.data import Examples, Split
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.pipeline import Pipeline
from registry.catalog import QUARANTINE_TAG
from registry.gate.evidence import FirstVersionEvidence, GateEvidence
from registry.gate.row_outcomes import ROWS_FILE, GateRowOutcomes, RowOutcomes
from registry.gate.verdict import gate_verdict
from tests.support.bars import draw_bars
from tests.support.fake_registry import (
    EASY,
    Always,
    FakeRun,
    FakeTracking,
    MemoryCatalog,
    bars_family,
    bars_split,
    feedback_on,
)


@pytest.fixture(scope="module")
def split() -> Split:
    return bars_split(60)


@pytest.fixture(scope="module")
def family(split: Split) -> Pipeline:
    return bars_family(split)


def order_of(family: Pipeline, split: Split, champion: Champion | None) -> TrainingSpec:
    return TrainingSpec(family, EASY, split, feedback_on(draw_bars(45, 9)), champion, seed=3, reason="for a test")


def seen_by_the_gate(order: TrainingSpec, candidate: Always, rows: Rows | None = None) -> GateEvidence:
    golden = order.split.golden
    judgement = score_predictions(candidate(golden.batch), golden.labels, order.pipeline.classes)
    evidence = collect_gate_evidence(order, rows or select_rows(order), candidate, 1000, judgement, None)
    assert isinstance(evidence, GateEvidence)
    return evidence


def test_both_models_answer_the_same_rows_plain_and_disturbed(family: Pipeline, split: Split) -> None:
    order = order_of(family, split, Champion(7, Always(family, 0), 2000, "noted"))
    evidence = seen_by_the_gate(order, Always(family, 1))
    assert (evidence.golden.champion == 0).all()
    assert (evidence.golden.candidate == 1).all()
    assert evidence.feedback is not None
    assert sorted(evidence.robustness) == ["blur", "contrast", "noise", "shift"]
    assert all((rows.labels == split.golden.labels).all() for rows in evidence.robustness.values())
    assert evidence.confidence is not None
    assert evidence.confidence.candidate.tolist() == [1.0] * 60
    assert (evidence.champion_bytes, evidence.candidate_bytes) == (2000, 1000)
    assert (evidence.golden_digest, evidence.champion_digest) == (split.golden.digest, "noted")
    assert gate_verdict(evidence).reasons[0].startswith(f"The golden set is {split.golden.digest[:12]}")


def test_groups_are_compared_where_images_are_tagged(family: Pipeline, split: Split) -> None:
    order = order_of(family, split, Champion(7, Always(family, 0), 1000))
    assert seen_by_the_gate(order, Always(family, 1)).groups == ()
    rows = select_rows(order)
    assert rows.holdout is not None
    tagged = replace(order, group_tags={split.golden.ids[0]: "north", rows.holdout.ids[-1]: "south"})
    groups = seen_by_the_gate(tagged, Always(family, 1), rows).groups
    assert (groups[0], groups[-1], set(groups[1:-1])) == ("north", "south", {""})


def test_recent_rows_count_by_their_shares_and_belong_to_their_blocks(family: Pipeline, split: Split) -> None:
    order = order_of(family, split, Champion(7, Always(family, 0), 1000))
    rows = select_rows(order)
    assert rows.holdout is not None
    first, second = rows.holdout.ids[:2]
    known = replace(order, judging_shares={first: 0.25}, blocks={first: "request 1", second: "request 1"})
    recent = seen_by_the_gate(known, Always(family, 1), rows).feedback
    assert recent is not None
    assert recent.shares is not None
    assert recent.blocks is not None
    assert recent.shares.tolist() == [0.25, *[1.0] * (recent.n - 1)]
    assert recent.blocks[0] == recent.blocks[1]
    assert len(set(recent.blocks.tolist())) == recent.n - 1
    plain = seen_by_the_gate(order, Always(family, 1), rows).feedback
    assert plain is not None
    assert plain.is_plain


def test_without_recent_rows_and_without_a_champion_there_is_less_to_see(family: Pipeline, split: Split) -> None:
    order = replace(order_of(family, split, Champion(7, Always(family, 0), 1000)), feedback=None)
    assert seen_by_the_gate(order, Always(family, 1)).feedback is None
    assert gate_row_outcomes(order, select_rows(order), Always(family, 1)).recent is None
    golden, first = split.golden, replace(order, champion=None)
    judgement = score_predictions(Always(family, 0)(golden.batch), golden.labels, family.classes)
    seen = collect_gate_evidence(first, select_rows(first), Always(family, 0), 1000, judgement, None)
    assert seen == FirstVersionEvidence(int((golden.labels == 0).sum()), 60)


class Past:
    """Versions of old, with their golden scores."""

    def __init__(self, family: Pipeline, golden: Examples) -> None:
        self.tracking, self.golden, self.family = FakeTracking(), golden, family
        self.catalog = MemoryCatalog(self.tracking)

    def add(self, correct: int, *, ruled: bool = True, digest: str | None = None, marked: bool = True) -> int:
        noted = self.golden.digest if digest is None else digest
        tags = {"golden_correct": str(correct), "golden_total": str(len(self.golden)), "golden_digest": noted}
        run = FakeRun(f"run-{len(self.tracking.runs) + 1}", "past", {})
        if marked:
            marks = RowOutcomes.from_mask(noted, self.golden.ids, np.arange(len(self.golden)) < correct)
            run.texts[ROWS_FILE] = GateRowOutcomes(marks, None).to_json()
        self.tracking.runs.append(run)
        kept = {name: value for name, value in tags.items() if value} | ({"mlplatform.promotion": "1"} if ruled else {})
        return self.catalog.register(self.family.name, "", run.id, kept)

    def best(self, champion: int) -> tuple[int, int, int | None] | None:
        """Version, rows right, and rows right by its marks."""
        present = Champion(champion, Always(self.family, 0), 1000)
        found = best_past_champion(self.tracking, self.catalog.versions(self.family.name), present, self.golden)
        return (
            None
            if found is None
            else (found.version, found.correct, None if found.right is None else found.right.sum())
        )


@pytest.fixture
def past(family: Pipeline, split: Split) -> Past:
    return Past(family, split.golden)


def test_the_best_there_was_is_found_with_its_rows(past: Past) -> None:
    for correct in (50, 58, 55):
        past.add(correct)
    assert past.best(champion=3) == (2, 58, 58)
    assert best_past_champion(past.tracking, past.catalog.versions("bars"), None, past.golden) is None


def test_attempts_are_counted_since_the_last_promotion_on_the_same_golden_rows(past: Past) -> None:
    def attempt(champion: int) -> int:
        present = Champion(champion, Always(past.family, 0), 1000)
        return attempt_number(past.catalog.versions(past.family.name), present, past.golden)

    assert attempt_number([], None, past.golden) == 1
    past.add(50)
    assert attempt(champion=1) == 1
    past.add(51, ruled=False)
    past.add(52, ruled=False)
    past.add(52, ruled=False, digest="other")
    assert attempt(champion=1) == 3
    past.add(53)
    assert attempt(champion=5) == attempt(champion=1) == 1
    past.add(54, ruled=False)
    assert attempt(champion=1) == 2


def test_a_champion_that_is_the_best_itself_has_no_other_to_reach(past: Past) -> None:
    past.add(58)
    past.add(58)
    assert past.best(champion=2) is None
    past.add(59, ruled=False)
    assert past.best(champion=3) is None


def test_versions_that_never_were_champion_or_saw_other_rows_do_not_count(past: Past) -> None:
    past.add(60, ruled=False)
    past.add(59, digest="other")
    past.add(50)
    assert past.best(champion=3) is None


def test_a_version_in_quarantine_sets_no_record(past: Past) -> None:
    for correct in (50, 59, 55):
        past.add(correct)
    past.catalog.set_tag(past.family.name, 2, QUARANTINE_TAG, "it misread sevens")
    assert past.best(champion=1) == (3, 55, 55)
    assert past.best(champion=2) is None, "the champion itself counts whatever is said of it"


def test_a_version_without_marks_or_digest_counts_by_its_number_of_rows(past: Past) -> None:
    past.add(58, marked=False)
    past.add(59, digest="")
    past.add(50)
    assert past.best(champion=3) == (2, 59, None)


class Stopwatch:
    """A clock that only the models move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_latencies_are_measured_side_by_side(family: Pipeline) -> None:
    watch = Stopwatch()

    class Timed(Always):
        def __init__(self, answer: int, milliseconds: float) -> None:
            super().__init__(family, answer)
            self.seconds = milliseconds / 1000

        def __call__(self, batch: Batch) -> NDArray[np.float32]:
            watch.seconds += self.seconds
            return super().__call__(batch)

    assert interleaved_latency(Timed(0, 2.0), Timed(1, 3.0), watch) == pytest.approx((2.0, 3.0))


def test_pauses_of_the_machine_decide_nothing_and_a_slower_model_is_seen(family: Pipeline) -> None:
    calls, watch = count(), Stopwatch()

    class Paused(Always):
        """Answers in no time, but for a pause of the machine at every 13th call of whichever model."""

        def __call__(self, batch: Batch) -> NDArray[np.float32]:
            watch.seconds += 0.004 if next(calls) % 13 == 0 else 0.0002
            return super().__call__(batch)

    class Slow(Paused):
        def __call__(self, batch: Batch) -> NDArray[np.float32]:
            watch.seconds += 0.008
            return super().__call__(batch)

    before, after = interleaved_latency(Paused(family, 0), Paused(family, 1), watch)
    assert 0.5 < after / before < 2
    before, after = interleaved_latency(Paused(family, 0), Slow(family, 1), watch)
    assert after / before > 1.5
