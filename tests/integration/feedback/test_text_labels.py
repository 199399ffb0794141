"""Labels that are texts: refused where no answer could be so, kept in one form, counted by length, drawn for review."""

import random
from collections.abc import Sequence as Many
from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.feedback import outcome_counts, outcomes
from mlplatform.feedback.label_history import label_events
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.feedback.pending_labels import add_pending, count_pending
from mlplatform.feedback.review_session import claim_next, load_desk
from mlplatform.feedback.review_tasks import ReviewLabel, submit_labels
from mlplatform.feedback.worst_errors import inputs_of_cell
from mlplatform.monitoring.label_issue_candidates import labelled_predictions, unlabelled_predictions
from mlplatform.monitoring.row_inputs import load_window
from mlplatform.monitoring.rule_inputs import load_costs
from mlplatform.predictions import prediction_counts, sampling_plans
from mlplatform.promotion import promotion_history
from mlplatform.store.prediction import PredictionRecord
from mlplatform.web.review_page import desk_page
from monitors.statistics.review_sampling import SamplingPlan
from pipelines.labels.label_issues import label_error_candidates
from registry.model_contract import ImageInputs, ModelContract
from registry.prediction_task import MAX_SEQUENCE_BYTES, Sequence, SequenceMeasure
from tests.support.monitoring_world import promote, rule, tick, with_rules
from tests.support.platform_world import FakeCatalog, prediction, recorded
from tests.support.unlabelled_world import WATCHED

TASK = Sequence("0123456789", 9, "edits")
pytestmark = pytest.mark.both_databases


@pytest.fixture
def reading(context: AppContext) -> AppContext:
    """A platform whose champion reads texts, of which all are drawn for review."""
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts["digits", 1] = ModelContract(ImageInputs(28, 28), TASK)
    promote(with_rules(context))
    with context.database.write() as connection:
        since = context.clock() - timedelta(minutes=1)
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(uniform=1.0).to_json(), since)
    return context


def answered(context: AppContext, texts: Many[str]) -> list[str]:
    """Answers with these texts, on pictures of their own."""
    rows = []
    for seed, text in enumerate(texts):
        made = prediction(context.clock(), seed=seed)
        sure = [0.9] * len(text)
        record: PredictionRecord = replace(
            made.prediction, label=text, probabilities=sure, confidence=0.8, label_class=TASK.segment(text)
        )
        rows.append(replace(made, prediction=record))
    return recorded(context.database, *rows)


def test_labels_are_checked_kept_in_one_form_and_counted_by_length(reading: AppContext) -> None:
    ids = answered(reading, ["1234", "1234", "55"])
    tick(reading, minutes=1)
    with pytest.raises(InvalidInputError, match="cannot be an answer; allowed: a text of 1 to 9 of the characters"):
        submit_labels(reading, [ReviewLabel(ids[0], "12,34", "")], "ann")
    given = [ReviewLabel(key, label, "") for key, label in zip(ids, (" 1234 ", "1239", "55555"), strict=True)]
    assert submit_labels(reading, given, "ann")["audit"] == 3
    tick(reading, minutes=1)
    now = reading.clock()
    with reading.database.read() as connection:
        rows = {row.prediction_id: row for row in outcomes.outcomes_after(connection, "digits", 1, 0, 10)}
        assert [rows[key].truth for key in ids] == ["1234", "1239", "55555"]
        assert [rows[key].loss for key in ids] == [0.0, 0.3, 0.6]
        losses = load_costs(connection, reading.contracts, _champion(reading), TASK.counted_names)
        for row in rows.values():  # one mistake costs as much in rows as in counts
            right = row.counted_truth == row.counted_label
            assert row.loss == (0.0 if right else losses[row.counted_truth, row.counted_label])
        cells = outcome_counts.window_label_counts(connection, "digits", 1, now - timedelta(hours=1), now)
        counted = {(cell.truth, cell.label): cell.n for cell in cells}
        assert counted == {
            ("length 4", "length 4"): 1,
            ("length 4", "wrong by 0.3"): 1,
            ("length 5", "wrong by 0.6"): 1,
        }
        sliced = outcomes.newest_label_counts(
            connection, "digits", 1, now - timedelta(hours=1), now, ["audit"], {"client": "client"}
        )
        assert {(cell.truth, cell.label): cell.n for cell in sliced} == counted
        [shown] = inputs_of_cell(
            connection, "digits", 1, ("length 5", "wrong by 0.6"), now - timedelta(hours=1), now, 5
        )
        assert shown.prediction_id == ids[2]
        volumes = prediction_counts.class_counts(connection, "digits", 1, now - timedelta(hours=1), now)
        assert {name: sum(steps.values()) for name, steps in volumes.items()} == {"length 4": 2, "length 2": 1}
        champion_window = load_window(
            connection,
            reading.contracts,
            rule(reading, "accuracy-drop"),
            _champion(reading),
            now,
        )
        assert sum(row.label == row.truth for row in champion_window.rows) == 1
        [*events] = label_events(connection, "digits", 1, TASK)
        assert {(event.outcome.counted_truth, event.outcome.counted_label) for event in events} == set(counted)


def _champion(context: AppContext) -> promotion_history.Promotion:
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, "digits")
    assert champion is not None
    return champion


def test_a_corrected_label_moves_between_the_cells(reading: AppContext) -> None:
    [key] = answered(reading, ["1234"])
    tick(reading, minutes=1)
    for label in ("1239", "1234"):
        submit_labels(reading, [ReviewLabel(key, label, "")], "ann")
        tick(reading, minutes=1)
    now = reading.clock()
    with reading.database.read() as connection:
        [cell] = outcome_counts.window_label_counts(connection, "digits", 1, now - timedelta(hours=1), now)
        [row] = outcomes.outcomes_after(connection, "digits", 1, 0, 10)
        assert (cell.truth, cell.label, cell.n) == ("length 4", "length 4", 1)
        assert row.loss == 0.0
        last = label_events(connection, "digits", 1, TASK)[-1].outcome
        assert (last.truth, last.counted_label, last.loss) == ("1234", "length 4", 0.0)


def test_people_write_texts_into_a_field(reading: AppContext) -> None:
    answered(reading, ["1234"])
    tick(reading, minutes=10)
    assert claim_next(reading, "draw", "ann") is not None
    assert load_desk(reading, "draw", "ann").rules.classes == ()
    page = desk_page(reading, "draw", "ann", "token", asks_name=True)
    assert '<input name="label" value=""' in page
    assert "a text of 1 to 9 of the characters 0123456789" in page
    assert "data-keys" in page
    assert "1234" not in page.replace("0123456789", "")


def test_what_an_audit_looks_at_has_shares_by_length(reading: AppContext) -> None:
    first, second = answered(reading, ["1234", "77"])
    tick(reading, minutes=1)
    submit_labels(reading, [ReviewLabel(first, "1235", "")], "ann")
    classes = TASK.counted_names
    with reading.database.read() as connection:
        [open_one] = unlabelled_predictions(connection, TASK, classes, "digits", 1)
        [labelled] = labelled_predictions(connection, TASK, classes, "digits", 1)
    assert (open_one.prediction_id, open_one.label) == (second, "length 2")
    assert open_one.probabilities[classes.index("length 2")] == pytest.approx(0.8)
    assert sum(open_one.probabilities) == pytest.approx(1.0)
    assert labelled.given_label == "length 4"


@pytest.mark.parametrize("measure", ["exact", "edits"])
def test_an_audit_looks_at_labels_that_contradict_a_text_of_the_same_length(
    reading: AppContext, measure: SequenceMeasure
) -> None:
    task = replace(TASK, measure=measure)
    right, same_length, shorter = answered(reading, ["1234", "1234", "123"])
    tick(reading, minutes=1)
    labels = zip((right, same_length, shorter), ("1234", "1239", "1234"), strict=True)
    submit_labels(reading, [ReviewLabel(key, label, "") for key, label in labels], "ann")
    classes = task.counted_names
    with reading.database.read() as connection:
        labelled = labelled_predictions(connection, task, classes, "digits", 1)
    doubted = label_error_candidates(labelled, classes, "length 4")
    assert {each.prediction_id for each in doubted} == {same_length, shorter}
    assert all("80%" in each.reason and "length 4 20%" in each.reason for each in doubted)
    assert all(sum(each.probabilities) == pytest.approx(1.0) for each in labelled)


def test_an_early_warning_sees_lengths_whatever_labels_came(reading: AppContext) -> None:
    ids = answered(reading, ["1234", "1234", "55"])
    tick(reading, minutes=1)
    submit_labels(reading, [ReviewLabel(key, "1239", "") for key in ids], "ann")
    early = rule(with_rules(reading, WATCHED), "prediction-drift")
    with reading.database.read() as connection:
        window = load_window(connection, reading.contracts, early, _champion(reading), reading.clock())
    assert sorted(row.label for row in window.rows) == ["length 2", "length 4", "length 4"]
    assert {row.truth for row in window.rows} == {None}


def test_the_longest_text_may_wait_for_its_prediction(context: AppContext) -> None:
    rng = random.Random(0)  # drawn at random, it cannot be made shorter
    wide = [chr(0x20000 + place) for place in range(4_000)]
    text, reviewer = ("".join(rng.choices(wide, k=length)) for length in (MAX_SEQUENCE_BYTES // 4, 200))
    waiting = SubmittedLabel("0" * 64, text, "correction", reviewer, context.clock())
    with context.database.write() as connection:
        add_pending(connection, [waiting, waiting], "digits", context.clock())
        assert count_pending(connection) == 1
