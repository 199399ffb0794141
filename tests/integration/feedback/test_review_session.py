"""Reviewers at their queues: different inputs for each, labels, skipping, not knowing, going back."""

import threading
from dataclasses import replace

import pytest

from mlplatform.audit.audit_entries import recent_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import outcomes
from mlplatform.feedback.review_queues import DISAGREEMENTS, DRAW
from mlplatform.feedback.review_session import (
    ReviewerProgress,
    Verdict,
    VerdictKind,
    check_reviewer,
    claim_next,
    give_verdict,
    list_review_queues,
    load_desk,
    load_held_item,
)
from mlplatform.feedback.review_tasks import ReviewLabel, submit_labels
from mlplatform.predictions import shadow_predictions
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.retraining.training_labels import load_input_labels
from mlplatform.store import tasks
from tests.support.monitoring_world import tick
from tests.support.platform_world import prediction, recorded
from tests.support.review_world import disagreeing, draw_all, drawn, open_audit, undrawn

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(context: AppContext) -> AppContext:
    draw_all(context)
    return context


def held(context: AppContext, queue: str, reviewer: str) -> str:
    """The next input of a queue, held by that reviewer."""
    claimed = claim_next(context, queue, reviewer)
    assert claimed is not None
    item = load_desk(context, queue, reviewer).item
    assert item is not None
    assert item.prediction_id == claimed
    return claimed


def say(context: AppContext, queue: str, reviewer: str, prediction_id: str, label: str) -> None:
    tick(context, seconds=1)
    give_verdict(context, queue, reviewer, Verdict(prediction_id, "label", label))


def labels_of(context: AppContext, key: str) -> list[tuple[str, str, str]]:
    with context.database.read() as connection:
        found = load_input_labels(connection, "digits")
    return [(each.label, each.source, each.reviewer) for each in found if each.prediction_id == key]


def test_a_drawn_input_is_labelled_as_an_audit_and_is_settled(world: AppContext) -> None:
    ids = set(drawn(world))
    first = held(world, DRAW, "ada")
    say(world, DRAW, "ada", first, "5")
    second = held(world, DRAW, "ada")
    assert {first, second} <= ids
    assert first != second
    assert labels_of(world, first) == [("5", "audit", "ada")]
    with world.database.read() as connection:
        [row] = outcomes.outcomes_after(connection, "digits", 1, 0, 10)
    assert (row.truth, row.source, row.weight) == ("5", "audit", 1.0)
    assert load_desk(world, DRAW, "ada").queue.waiting == 2


@pytest.mark.parametrize("kind", [DRAW, "task", DISAGREEMENTS])
def test_reviewers_hold_different_inputs_until_their_time_is_over(world: AppContext, kind: str) -> None:
    if kind == DRAW:
        ids, queue = drawn(world, 2), DRAW
    else:
        ids = undrawn(world, 2)
        queue = open_audit(world, ids) if kind == "task" else DISAGREEMENTS
        disagreeing(world, ids)
    assert {held(world, queue, "ada"), held(world, queue, "bob")} == set(ids)
    assert claim_next(world, queue, "eve") is None
    assert load_desk(world, queue, "eve").item is None
    tick(world, minutes=16)
    assert load_desk(world, queue, "ada").item is None
    assert claim_next(world, queue, "eve") in ids


def test_many_reviewers_at_once_never_hold_the_same_input(world: AppContext) -> None:
    queue = open_audit(world, undrawn(world, 6))
    names, claimed, barrier = [f"reviewer {number}" for number in range(6)], {}, threading.Barrier(6)

    def claim(name: str) -> None:
        barrier.wait(60)
        claimed[name] = claim_next(world, queue, name)

    threads = [threading.Thread(target=claim, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(claimed.values())) == len(names)
    assert None not in claimed.values()


def test_a_picked_input_trains_and_estimates_nothing(world: AppContext) -> None:
    audited, differing = undrawn(world, 2)
    task = open_audit(world, [audited])
    disagreeing(world, [differing])
    assert held(world, task, "ada") == audited
    say(world, task, "ada", audited, "4")
    assert held(world, DISAGREEMENTS, "ada") == differing
    say(world, DISAGREEMENTS, "ada", differing, "8")
    assert labels_of(world, audited) == [("4", "review", "ada")]
    assert labels_of(world, differing) == [("8", "review", "ada")]
    with world.database.read() as connection:
        assert {row.source for row in outcomes.outcomes_after(connection, "digits", 2, 0, 10)} == {"correction"}


def test_a_disagreement_that_is_drawn_waits_for_its_turn_in_the_draw(world: AppContext) -> None:
    ids = drawn(world, 1)
    disagreeing(world, ids)
    queues, _ = list_review_queues(world, "")
    assert {queue.id: queue.waiting for queue in queues} == {DRAW: 1, DISAGREEMENTS: 0}


def test_another_models_disagreements_leave_those_of_this_one(
    world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_predictions, "DIFFERING_SCAN_LIMIT", 2)
    own = undrawn(world, 1)
    disagreeing(world, own)
    tick(world, seconds=1)
    made = [prediction(world.clock(), seed=seed) for seed in range(3)]
    theirs = [PredictionWithInput(replace(one.prediction, model_name="letters"), one.input) for one in made]
    disagreeing(world, recorded(world.database, *theirs))
    assert claim_next(world, DISAGREEMENTS, "ada") == own[0]
    assert claim_next(world, DISAGREEMENTS, "bob") is None


def test_what_is_skipped_goes_to_others_and_comes_back_after_an_hour(world: AppContext) -> None:
    [only] = drawn(world, 1)
    held(world, DRAW, "ada")
    give_verdict(world, DRAW, "ada", Verdict(only, "skip"))
    assert claim_next(world, DRAW, "ada") is None
    assert held(world, DRAW, "bob") == only
    tick(world, minutes=61)
    assert held(world, DRAW, "ada") == only
    assert labels_of(world, only) == []


def test_what_a_reviewer_cannot_tell_is_never_theirs_again_and_stays_for_others(world: AppContext) -> None:
    queue = open_audit(world, undrawn(world, 1))
    only = held(world, queue, "ada")
    give_verdict(world, queue, "ada", Verdict(only, "unsure"))
    tick(world, days=2)
    assert claim_next(world, queue, "ada") is None
    assert held(world, queue, "bob") == only
    with world.database.read() as connection:
        [entry] = [each for each in recent_entries(connection) if each["action"] == "unsure-review"]
    assert (entry["actor"], entry["subject"]) == ("ada", f"prediction/{only}")


def test_going_back_replaces_a_label_and_keeps_the_one_before_as_history(world: AppContext) -> None:
    drawn(world, 3)
    first = held(world, DRAW, "ada")
    say(world, DRAW, "ada", first, "5")
    second = held(world, DRAW, "ada")
    say(world, DRAW, "ada", second, "6")
    third = held(world, DRAW, "ada")
    assert load_desk(world, DRAW, "ada").earlier == second
    back = load_desk(world, DRAW, "ada", second)
    assert back.earlier == first
    assert back.given == Verdict(second, "label", "6")
    assert back.item is not None
    assert back.item.prediction_id == second
    say(world, DRAW, "ada", second, "7")
    assert labels_of(world, second) == [("7", "audit", "ada")]
    assert claim_next(world, DRAW, "ada") == third
    with pytest.raises(NotFoundError, match="ada said nothing of prediction"):
        load_desk(world, DRAW, "ada", third)


@pytest.mark.parametrize("kind", ["skip", "unsure"])
def test_an_input_that_was_labelled_is_not_passed_by_and_keeps_its_label(world: AppContext, kind: VerdictKind) -> None:
    drawn(world, 1)
    only = held(world, DRAW, "ada")
    say(world, DRAW, "ada", only, "5")
    with pytest.raises(ConflictError, match="you labelled this input"):
        give_verdict(world, DRAW, "ada", Verdict(only, kind))
    assert load_desk(world, DRAW, "ada", only).given == Verdict(only, "label", "5")
    assert labels_of(world, only) == [("5", "audit", "ada")]


def test_the_same_verdict_sent_twice_changes_nothing(world: AppContext) -> None:
    drawn(world, 1)
    only = held(world, DRAW, "ada")
    for _ in range(2):
        give_verdict(world, DRAW, "ada", Verdict(only, "label", "5"))
    assert labels_of(world, only) == [("5", "audit", "ada")]
    with world.database.read() as connection:
        assert sum(each["action"] == "feedback" for each in recent_entries(connection)) == 1


def test_an_input_that_others_have_now_takes_nothing(world: AppContext) -> None:
    queue = open_audit(world, undrawn(world, 1))
    only = held(world, queue, "ada")
    tick(world, minutes=16)
    assert held(world, queue, "bob") == only
    for reviewer in ("ada", "eve"):
        with pytest.raises(ConflictError, match=f"is not held by {reviewer} in this queue"):
            give_verdict(world, queue, reviewer, Verdict(only, "label", "5"))
    assert labels_of(world, only) == []
    say(world, queue, "bob", only, "5")
    assert labels_of(world, only) == [("5", "review", "bob")]


def test_a_verdict_after_the_time_is_over_is_taken_where_nobody_has_the_input(world: AppContext) -> None:
    drawn(world, 1)
    only = held(world, DRAW, "ada")
    tick(world, hours=2)
    say(world, DRAW, "ada", only, "5")
    assert labels_of(world, only) == [("5", "audit", "ada")]


def test_a_label_that_is_no_class_takes_nothing_and_keeps_the_input(world: AppContext) -> None:
    drawn(world, 1)
    only = held(world, DRAW, "ada")
    with pytest.raises(InvalidInputError, match="is not a class"):
        give_verdict(world, DRAW, "ada", Verdict(only, "label", "<b>"))
    assert held(world, DRAW, "ada") == only
    assert load_desk(world, DRAW, "ada").earlier == ""


def test_a_queue_that_is_not_open_is_named_with_those_that_are(world: AppContext) -> None:
    task = open_audit(world, undrawn(world, 1))
    with pytest.raises(NotFoundError, match=f"review queue 'gone' is not open.*draw, {task}, disagreements"):
        claim_next(world, "gone", "ada")
    only = held(world, task, "ada")
    with world.database.write() as connection:
        tasks.close_task(connection, task, {}, world.clock())
    with pytest.raises(NotFoundError, match="is not open"):
        give_verdict(world, task, "ada", Verdict(only, "label", "5"))


def test_progress_counts_a_day_and_compares_with_what_others_say(world: AppContext) -> None:
    ids = drawn(world, 3)
    for label in ("5", "6", "7"):
        say(world, DRAW, "ada", held(world, DRAW, "ada"), label)
    given = {key: labels_of(world, key)[0][0] for key in ids}
    submit_labels(world, [ReviewLabel(ids[0], given[ids[0]]), ReviewLabel(ids[1], "0")], "bob")
    assert load_desk(world, DRAW, "ada").progress == ReviewerProgress(3, 2, 1)
    tick(world, days=2)
    _, progress = list_review_queues(world, "ada")
    assert progress == ReviewerProgress(0, 2, 1)
    assert list_review_queues(world, "eve")[1] == ReviewerProgress(0, 0, 0)


def test_an_input_is_shown_to_its_reviewer_alone(world: AppContext) -> None:
    drawn(world, 1)
    task = open_audit(world, undrawn(world, 1))
    for queue in (DRAW, task):
        key = held(world, queue, "ada")
        assert load_held_item(world, key, "ada").view.png is not None
        with pytest.raises(NotFoundError, match="is not held by bob"):
            load_held_item(world, key, "bob")
        say(world, queue, "ada", key, "5")
        assert load_held_item(world, key, "ada").prediction_id == key


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_reviewers_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="reviewer's name"):
        check_reviewer(name)


def test_a_hold_lasts_a_quarter_of_an_hour(world: AppContext) -> None:
    queue = open_audit(world, undrawn(world, 1))
    held(world, queue, "ada")
    tick(world, minutes=14)
    assert claim_next(world, queue, "bob") is None
    assert load_desk(world, queue, "ada").item is not None
