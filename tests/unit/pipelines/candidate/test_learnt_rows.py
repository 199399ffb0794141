"""What labels have taught the champion never asks it: a correction that trained trains on, whoever labels it later."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.candidate.learnt_rows import separate_learnt
from pipelines.candidate.make_candidate import make_candidate
from pipelines.candidate.row_selection import ASKED_AGAIN, CHAMPION_KNOWS, JUDGED_INPUT, Rows, select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec, load_champion
from pipelines.data import FORGOTTEN_GROUPS, Examples, FeedbackRows, images_of, is_holdout
from pipelines.labels.label_provenance import LabelOrigin
from pipelines.labels.learnt_labels import LearntLabels, asked_again
from pipelines.pipeline import Pipeline
from tests.support.bars import draw_bars
from tests.support.fake_registry import (
    EASY,
    Always,
    FakeTracking,
    MemoryCatalog,
    bars_family,
    bars_split,
    feedback_on,
)
from tests.support.image_feedback import image_feedback
from tests.support.visits_pipeline import CODEC, draw_visits, visits_feedback, visits_pipeline, visits_split


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return bars_family(bars_split(32))


def spec_of(pipeline: Pipeline, labels: FeedbackRows | None, champion: Champion | None = None) -> TrainingSpec:
    split = pipeline.load(None)
    recipe = EASY if pipeline.name != "visits" else pipeline.recipe()
    return TrainingSpec(pipeline, recipe, split, labels, champion, seed=3, reason="for a test")


def champion_of(pipeline: Pipeline, learnt: LearntLabels) -> Champion:
    return Champion(7, Always(pipeline, 0), 10**6, pipeline.load(None).golden.digest, learnt=learnt)


def sides(rows: Rows) -> tuple[set[str], set[str]]:
    """The identities that train, and those that judge."""
    assert rows.feedback is not None
    assert rows.holdout is not None
    return set(rows.feedback.ids), set(rows.holdout.ids)


def corrections(rows: FeedbackRows, *, prefix: str = "") -> FeedbackRows:
    """The same labels as reports of errors, which may train alone."""
    ids = tuple(f"{prefix}{i}" for i in rows.feedback_ids)
    return replace(rows, feedback_ids=ids, trains_only=(True,) * len(rows))


# --- pictures


def test_a_correction_that_trained_does_not_judge_when_its_picture_is_drawn_later(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    drawn = feedback_on(draw_bars(90, 9))
    reported = corrections(drawn.take(np.arange(45)))
    held = {i for i in reported.ids if is_holdout(i)}
    assert len(held) > 8
    tracking = FakeTracking()
    catalog = MemoryCatalog(tracking)

    first = make_candidate(spec_of(pipeline, reported, champion_of(pipeline, LearntLabels())), tracking, catalog)
    learnt = set(json.loads(tracking.runs[-1].texts["lineage.json"])["learnt_rows"])
    assert held & learnt

    champion = load_champion(catalog, pipeline, first.version, tmp_path)
    make_candidate(spec_of(pipeline, drawn, champion), tracking, catalog)
    judged = set(json.loads(tracking.runs[-1].texts["lineage/gate.json"])["images"])
    assert len(judged) > 8
    assert not judged & learnt
    again = json.loads(tracking.runs[-1].texts["lineage.json"])
    assert learnt <= set(again["learnt_rows"]), "what it may have begun with is handed on"
    assert held & learnt <= set(json.loads(tracking.runs[-1].texts["lineage/feedback.json"])["images"])


def test_without_the_lineage_they_would_judge(pipeline: Pipeline) -> None:
    drawn = feedback_on(draw_bars(90, 9))
    some = frozenset(i for i in drawn.ids if is_holdout(i))
    _, judging = sides(select_rows(spec_of(pipeline, drawn, champion_of(pipeline, LearntLabels()))))
    assert judging <= some
    assert len(judging) > 15
    training, judging = sides(select_rows(spec_of(pipeline, drawn, champion_of(pipeline, LearntLabels(rows=some)))))
    assert not judging
    assert training & some


def test_a_version_that_noted_labels_alone_is_known_by_them(pipeline: Pipeline) -> None:
    drawn = feedback_on(draw_bars(90, 9))
    trained = [{"feedback_id": i, "weight": 1.0} for i in drawn.feedback_ids]
    learnt = LearntLabels.from_json(json.dumps({"trained": trained, "judged": [], "set_aside": []}))
    _, judging = sides(select_rows(spec_of(pipeline, drawn, champion_of(pipeline, learnt))))
    assert not judging


def reported_and_drawn(
    pipeline: Pipeline, tmp_path: Path
) -> tuple[FakeTracking, MemoryCatalog, Champion, FeedbackRows]:
    """A champion that was taught 60 pictures as corrections, each of which is drawn for an audit since.

    What was reported has been reported anew, so that no label that trained is left.
    """
    drawn = feedback_on(draw_bars(60, 9))
    tracking = FakeTracking()
    catalog = MemoryCatalog(tracking)
    first = make_candidate(spec_of(pipeline, corrections(drawn, prefix="before ")), tracking, catalog)
    return tracking, catalog, load_champion(catalog, pipeline, first.version, tmp_path), drawn


def judged_by_the_next(spec: TrainingSpec, tracking: FakeTracking, catalog: MemoryCatalog) -> set[str]:
    make_candidate(spec, tracking, catalog)
    return set(json.loads(tracking.runs[-1].texts.get("lineage/gate.json", '{"images": []}'))["images"])


def test_a_version_that_noted_no_learnt_rows_is_known_by_the_rows_that_trained_it(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    tracking, catalog, champion, drawn = reported_and_drawn(pipeline, tmp_path)
    texts = tracking.runs[-1].texts
    lineage = json.loads(texts["lineage.json"])
    del lineage["learnt_rows"]
    texts["lineage.json"] = json.dumps(lineage)
    trained = set(json.loads(texts["lineage/feedback.json"])["images"])
    assert sum(map(is_holdout, trained)) > 8
    assert not judged_by_the_next(spec_of(pipeline, drawn, champion), tracking, catalog) & trained


def test_of_a_champion_whose_run_is_gone_no_label_judges_that_was_given_before_it(
    pipeline: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking, catalog, champion, drawn = reported_and_drawn(pipeline, tmp_path)
    tracking.runs.clear()
    half = drawn.feedback_ids[:30]
    origins = {
        name: LabelOrigin("audit", labelled_at=champion.registered_at + (-60.0 if name in half else 60.0))
        for name in drawn.feedback_ids
    }
    spec = replace(spec_of(pipeline, drawn, champion), origins=origins)
    judged = judged_by_the_next(spec, tracking, catalog)
    assert judged
    assert any(map(is_holdout, drawn.ids[:30]))
    assert not judged & set(drawn.ids[:30])
    learnt = set(json.loads(tracking.runs[-1].texts["lineage.json"])["learnt_rows"])
    assert set(drawn.ids[:30]) <= learnt, "what may have been learnt is handed on"
    assert "nobody knows which labels taught it" in caplog.text


def test_learnt_rows_are_looked_up_within_the_memory_of_their_names(visits: Pipeline) -> None:
    count = 100_000
    keys = tuple(f"{row:064x}" for row in range(count))
    batch = Batch({"age": np.full(count, 30.0), "plan": np.array(["gold"] * count, dtype=object)})
    labels = FeedbackRows(
        batch, np.zeros(count, dtype=np.int64), "feedback", CODEC.rows, feedback_ids=keys, keys=keys, groups=keys
    )
    spec = spec_of(visits, labels, champion_of(visits, LearntLabels(rows=frozenset(keys[::2]))))
    tracemalloc.start()
    try:
        marked, learnt = separate_learnt(labels, spec)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(marked.trains_only) == len(learnt) == count // 2
    assert peak < 300 * count, "as arrays of characters 64 letters take 256 bytes in each of several copies"


def test_a_picture_that_looks_like_a_learnt_one_does_not_judge(pipeline: Pipeline) -> None:
    drawn = feedback_on(draw_bars(60, 9))
    pictures = images_of(drawn.batch)
    brighter = np.clip(pictures.astype(np.int64) + 1, 0, 255).astype(np.uint8)
    ids = tuple(f"again-{i}" for i in drawn.feedback_ids)
    alike = image_feedback(brighter, drawn.labels, "feedback", ids)
    both = FeedbackRows(
        Batch.concat([drawn.batch, alike.batch]),
        np.concatenate([drawn.labels, alike.labels]),
        "feedback",
        drawn.canonical,
        feedback_ids=drawn.feedback_ids + alike.feedback_ids,
        trains_only=(True,) * len(drawn) + (False,) * len(alike),
    )
    learnt = LearntLabels(rows=frozenset(drawn.ids))
    rows = select_rows(spec_of(pipeline, both, champion_of(pipeline, learnt)))
    _, judging = sides(rows)
    assert not judging
    assert CHAMPION_KNOWS in {label.detail for label in rows.excluded}


# --- rows of a table


@pytest.fixture(scope="module")
def visits() -> Pipeline:
    return visits_pipeline(visits_split())


def test_of_a_subject_of_whom_the_champion_learnt_a_label_nothing_judges(visits: Pipeline) -> None:
    labels = visits_feedback(draw_visits(300, 9, "later"))
    held = [place for place, group in enumerate(labels.groups) if is_holdout(group)]
    taught = labels.groups[held[0]]
    [one, other] = [place for place, group in enumerate(labels.groups) if group == taught]
    learnt = LearntLabels(rows=frozenset([labels.ids[one]]))
    _, before = sides(select_rows(spec_of(visits, labels, champion_of(visits, LearntLabels()))))
    training, judging = sides(select_rows(spec_of(visits, labels, champion_of(visits, learnt))))
    assert before - judging == {labels.ids[one], labels.ids[other]}
    assert {labels.ids[one], labels.ids[other]} <= training


def test_subjects_that_are_forgotten_do_not_bind_each_other(visits: Pipeline) -> None:
    labels = visits_feedback(draw_visits(300, 9, "later"))
    forgotten = replace(labels, groups=tuple(FORGOTTEN_GROUPS[is_holdout(group)] for group in labels.groups))
    held = [key for key, group in zip(labels.ids, labels.groups, strict=True) if is_holdout(group)]
    learnt = LearntLabels(rows=frozenset(held[:1]))
    _, judging = sides(select_rows(spec_of(visits, forgotten, champion_of(visits, learnt))))
    assert judging == set(held[1:])


def people(ages: list[float], prefix: str, groups: tuple[str, ...] = ()) -> FeedbackRows:
    """Rows of one plan each, known by their ages."""
    keys = tuple(f"{prefix}{row}" for row in range(len(ages)))
    plans = np.array(["gold"] * len(ages), dtype=object)
    labels = np.zeros(len(ages), dtype=np.int64)
    batch = Batch({"age": np.array(ages), "plan": plans})
    return FeedbackRows(batch, labels, "feedback", CODEC.rows, feedback_ids=keys, keys=keys, groups=groups)


def test_an_event_that_is_asked_again_under_another_id_does_not_judge_what_it_taught(visits: Pipeline) -> None:
    ages = [20.25 + row for row in range(40)]
    asked = people(ages, "first ")
    again = people(ages, "second ")
    both = Examples.concat("feedback", asked, again)
    labels = FeedbackRows(
        both.batch,
        both.labels,
        "feedback",
        CODEC.rows,
        feedback_ids=both.keys,
        keys=both.keys,
        trains_only=(True,) * len(asked) + (False,) * len(again),
    )
    rows = select_rows(spec_of(visits, labels, champion_of(visits, LearntLabels())))
    training, judging = sides(rows)
    assert set(asked.ids) <= training
    assert not judging
    assert ASKED_AGAIN in {label.detail for label in rows.excluded}


def test_an_input_that_judges_and_is_nobodys_trains_by_no_correction_of_another_asking(visits: Pipeline) -> None:
    """Asked thrice, reported twice and drawn once: who learnt the two reports would know the third."""
    ages = [20.25 + row for row in range(40)]
    held = [is_holdout(content) for content in people(ages, "").content_hashes]
    assert 5 < sum(held) < 35
    reports = Examples.concat("feedback", people(ages, "first "), people(ages, "second "))
    asked = Examples.concat("feedback", reports, people(ages, "third "))
    labels = FeedbackRows(
        asked.batch,
        asked.labels,
        "feedback",
        CODEC.rows,
        feedback_ids=asked.keys,
        keys=asked.keys,
        trains_only=(True,) * 80 + (False,) * 40,
    )
    origins = {name: LabelOrigin("audit") for name in asked.keys}
    rows = select_rows(replace(spec_of(visits, labels), origins=origins))
    training, judging = sides(rows)
    assert judging == {key for key, is_held in zip(asked.keys[80:], held, strict=True) if is_held}
    assert training == {key for key, is_held in zip(asked.keys, held * 3, strict=True) if not is_held}
    assert JUDGED_INPUT in {label.detail for label in rows.excluded if label.reason == "of a judged group"}


@pytest.mark.parametrize(
    ("ages", "groups", "expected"),
    [
        ([30.0], ((), ()), True),
        ([30.0, 30.0], ((), ()), False),
        ([30.0], (("ada",), ("bob",)), False),
        ([30.0], (("ada",), ("ada",)), True),
        ([30.0], (("ada",), ("",)), True),
        ([30.0], (("",), ("bob",)), True),
        ([31.0], ((), ()), False),
    ],
)
def test_an_input_names_its_event_where_it_is_the_only_one_and_nobody_elses(
    ages: list[float], groups: tuple[tuple[str, ...], tuple[str, ...]], expected: bool
) -> None:
    found = asked_again(people([30.0], "mine ", groups[0]), people(ages, "other ", groups[1]))
    assert found.tolist() == [expected]
