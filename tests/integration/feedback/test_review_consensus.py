"""Several reviewers must agree before a label counts; where they differ, others are asked, and nobody sees a vote."""

import threading

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_studio.annotation_import import take_event
from mlplatform.feedback.label_studio.annotation_schema import LabelStudioEvent
from mlplatform.feedback.label_studio.task_export import export_tasks
from mlplatform.feedback.review_consensus import CONTRADICTIONS
from mlplatform.feedback.review_session import Verdict, claim_next, give_verdict, list_review_queues, load_desk
from mlplatform.feedback.review_tasks import ReviewLabel, claim_items, submit_labels
from mlplatform.web.review_page import desk_page, queues_page
from tests.support.label_studio import annotation, choice, event
from tests.support.monitoring_world import tick
from tests.support.review_world import draw_all, drawn, open_audit, undrawn

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform where two reviewers must agree, and every answer is drawn."""
    made = context.replace(settings=context.settings.model_copy(update={"review_consensus": 2}))
    draw_all(made)
    tick(made, minutes=1)
    return made


def labels_of(context: AppContext, prediction_id: str) -> list[tuple[str, str]]:
    with context.database.read() as connection:
        return [(row.label, row.source) for row in label_records.current_labels(connection, prediction_id)]


def say(context: AppContext, reviewer: str, label: str, queue: str = "draw") -> str:
    """Claim the next input as that reviewer and label it; returns its prediction."""
    tick(context, seconds=1)
    key = claim_next(context, queue, reviewer)
    assert key is not None
    give_verdict(context, queue, reviewer, Verdict(key, "label", label))
    return key


def contradictions(context: AppContext) -> list[int]:
    """How many inputs wait because reviewers differ."""
    queues, _ = list_review_queues(context, "")
    return [queue.waiting for queue in queues if queue.kind == "contradictions"]


def test_a_label_counts_once_two_say_the_same(world: AppContext) -> None:
    [key] = drawn(world, 1)
    assert say(world, "ada", "3") == key
    assert labels_of(world, key) == []
    assert claim_next(world, "draw", "ada") is None, "she is not asked again"
    assert claim_items(world, "ada", 10) == []
    assert say(world, "bob", "3") == key
    assert labels_of(world, key) == [("3", "audit"), ("3", "audit")]
    assert claim_next(world, "draw", "cid") is None, "it is settled"


def test_reviewers_who_differ_leave_it_to_a_third_who_sees_neither_vote(world: AppContext) -> None:
    [key] = drawn(world, 1)
    say(world, "ada", "3")
    say(world, "bob", "8")
    assert (labels_of(world, key), contradictions(world)) == ([], [1])
    assert "Reviewers differ" in queues_page(world, "cid", "token", asks_name=True)
    assert claim_next(world, CONTRADICTIONS, "ada") is None
    assert claim_next(world, CONTRADICTIONS, "cid") == key
    page = desk_page(world, CONTRADICTIONS, "cid", "token", asks_name=True)
    assert "ada" not in page
    assert "bob" not in page
    assert load_desk(world, CONTRADICTIONS, "cid").given is None
    give_verdict(world, CONTRADICTIONS, "cid", Verdict(key, "label", "8"))
    assert labels_of(world, key) == [("8", "audit"), ("8", "audit")]
    assert contradictions(world) == [0]


def test_a_changed_vote_settles_and_a_later_change_alone_changes_nothing(world: AppContext) -> None:
    [key] = drawn(world, 1)
    say(world, "ada", "3")
    say(world, "bob", "8")
    for label in ("8", "5"):
        tick(world, seconds=1)
        give_verdict(world, "draw", "ada", Verdict(key, "label", label))
        assert labels_of(world, key) == [("8", "audit"), ("8", "audit")]
    with world.database.read() as connection:
        votes = [entry for entry in audit_entries.recent_entries(connection, 20) if entry["action"] == "vote-review"]
    said = [(entry["actor"], entry["details"]["label"]) for entry in votes]
    assert said == [("ada", "5"), ("ada", "8"), ("bob", "8"), ("ada", "3")]


def test_a_task_counts_its_own_votes_and_trains(world: AppContext) -> None:
    [key, _] = undrawn(world)
    task = open_audit(world, [key])
    say(world, "ada", "3", task)
    assert labels_of(world, key) == []
    assert claim_next(world, task, "ada") is None
    say(world, "bob", "3", task)
    assert {source for _, source in labels_of(world, key)} == {"review"}


def test_a_sheet_says_how_many_labels_wait_for_others_and_repeats_change_nothing(world: AppContext) -> None:
    one, two = drawn(world, 2)
    sheet = [ReviewLabel(one, "3"), ReviewLabel(two, "5")]
    none = {"audit": 0, "review": 0, "repeated": 0, "undecided": 0}
    for _ in range(2):
        assert submit_labels(world, sheet, "ada") == none | {"undecided": 2}
    assert submit_labels(world, [sheet[0]], "bob") == none | {"audit": 1}
    assert submit_labels(world, sheet, "ada") == none | {"repeated": 1, "undecided": 1}
    with pytest.raises(NotFoundError, match="not known"):
        submit_labels(world, [ReviewLabel("nobody", "3")], "ada")
    with pytest.raises(InvalidInputError, match="is a model"):
        submit_labels(world, [ReviewLabel(one, "3")], "digits:2")


def test_annotations_of_label_studio_are_votes(world: AppContext) -> None:
    drawn(world, 1)
    data = export_tasks(world, "draw", 1).tasks[0]["data"]
    tick(world, minutes=1)
    for number, (user, outcome) in enumerate(((7, "undecided"), (7, "undecided"), (8, "audit"))):
        sent = event(data, annotation(number, choice("4"), completed_by=user))
        counts = take_event(world, LabelStudioEvent.model_validate(sent))
        assert {name for name, n in counts.items() if n} == {outcome}
    assert labels_of(world, data["prediction_id"]) == [("4", "audit"), ("4", "audit")]


def test_two_who_vote_at_the_same_moment_decide(world: AppContext) -> None:
    [key] = drawn(world, 1)
    together = threading.Barrier(2)

    def vote(reviewer: str) -> None:
        together.wait()
        submit_labels(world, [ReviewLabel(key, "3")], reviewer)

    threads = [threading.Thread(target=vote, args=(name,)) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert labels_of(world, key) == [("3", "audit"), ("3", "audit")]


def test_where_one_is_enough_there_is_no_such_queue(context: AppContext) -> None:
    draw_all(context)
    [key] = drawn(context, 1)
    assert say(context, "ada", "3") == key
    assert labels_of(context, key) == [("3", "audit")]
    assert contradictions(context) == []
    with pytest.raises(NotFoundError, match="is not open"):
        claim_next(context, CONTRADICTIONS, "ada")
