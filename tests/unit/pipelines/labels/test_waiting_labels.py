"""Labels wait with the held-back ones that they would spoil: those of few subjects stay judges of later candidates."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.candidate.row_selection import select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec
from pipelines.data import FORGOTTEN_GROUPS, Examples, FeedbackRows, is_holdout
from pipelines.labels.label_provenance import LabelOrigin
from pipelines.labels.learnt_labels import LearntLabels
from pipelines.labels.waiting_labels import waiting_labels
from tests.support.fake_registry import Always
from tests.support.visits_pipeline import CODEC, draw_visits, visits_feedback, visits_pipeline, visits_split

MACHINES = tuple(f"machine {number}" for number in range(20))


def labels_of_machines(count: int, corrected: int) -> FeedbackRows:
    """Labels of a few machines in turn, the first of them reports of errors."""
    rows = draw_visits(count, 9, "later")
    labels = visits_feedback(replace(rows, groups=tuple(MACHINES[row % len(MACHINES)] for row in range(count))))
    return replace(labels, trains_only=tuple(row < corrected for row in range(count)))


def test_corrections_of_few_subjects_leave_their_later_labels_to_judge() -> None:
    labels = labels_of_machines(600, 20)
    held = [is_holdout(group) for group in labels.groups]
    # 1. The first retraining: no label is known to be mature, and corrections train at once.
    first = labels.take(~waiting_labels(labels, mature=()))
    taught = first.training_rows()
    assert set(taught.groups) == {machine for machine in MACHINES if not is_holdout(machine)}
    # 2. The next one: all labels are mature, and the champion has learnt what trained it.
    pipeline = visits_pipeline(visits_split())
    learnt = LearntLabels(rows=frozenset(taught.ids))
    champion = Champion(7, Always(pipeline, 0), 10**6, pipeline.load(None).golden.digest, learnt=learnt)
    origins = {name: LabelOrigin("delayed") for name in labels.feedback_ids}
    spec = TrainingSpec(
        pipeline, pipeline.recipe(), pipeline.load(None), labels, champion, seed=3, reason="", origins=origins
    )
    rows = select_rows(spec)
    assert rows.holdout is not None
    assert len(rows.holdout) == sum(held[20:])
    assert not set(rows.holdout.ids) & set(taught.ids)


def test_what_judges_does_not_wait_for_others_of_its_subject() -> None:
    labels = labels_of_machines(60, 20)
    held = np.array([is_holdout(group) for group in labels.groups])
    mature = set(labels.ids[20:40])
    expected = held & np.array([key not in mature for key in labels.ids])
    assert waiting_labels(labels, mature).tolist() == expected.tolist()
    assert not waiting_labels(labels, labels.ids).any()


@pytest.mark.parametrize("group", ["", FORGOTTEN_GROUPS[True]])
def test_rows_of_nobody_wait_alone(group: str) -> None:
    labels = replace(labels_of_machines(60, 20), groups=(group,) * 60)
    assert not waiting_labels(labels, mature=())[:20].any()


def test_rows_that_are_known_by_their_content_wait_with_its_other_labels() -> None:
    rows = draw_visits(60, 9)
    both = Examples.concat("labels", rows, rows)
    ids = tuple(f"feedback-{place}" for place in range(120))
    labels = FeedbackRows(
        both.batch,
        both.labels,
        "feedback",
        CODEC.rows,
        feedback_ids=ids,
        trains_only=(True,) * 60 + (False,) * 60,
    )
    waits = waiting_labels(labels, mature=())
    assert waits.any()
    assert waits[:60].tolist() == waits[60:].tolist() == [is_holdout(row) for row in rows.content_hashes]
