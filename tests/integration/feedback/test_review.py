"""People reviewing answers: what they are given, what becomes of their verdicts."""

from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import outcomes
from mlplatform.feedback.review_tasks import (
    SHEET_NAME,
    ReviewItem,
    ReviewLabel,
    claim_items,
    read_sheet,
    submit_labels,
    task_items,
    write_sheet,
)
from mlplatform.operations.review_progress import review_progress
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.input_views import InputView, RowCell
from mlplatform.retraining.training_labels import load_input_labels
from mlplatform.store import tasks
from monitors.statistics.review_sampling import SamplingPlan
from pipelines.image.grey_png import decode_png
from tests.support.monitoring_world import promote, tick, with_rules
from tests.support.platform_world import picture, prediction, recorded

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(context: AppContext) -> AppContext:
    promote(with_rules(context))
    with context.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(uniform=1.0).to_json(), context.clock())
    tick(context, minutes=1)
    return context


def drawn(context: AppContext, count: int = 3) -> list[str]:
    return recorded(context.database, *(prediction(context.clock(), seed=seed) for seed in range(count)))


def picked(context: AppContext, count: int = 2) -> tuple[str, list[str]]:
    """An open label audit of answers of another version, which is not drawn from."""
    ids = recorded(context.database, *(prediction(context.clock(), seed=seed, version=2) for seed in range(count)))
    details = {"class": "3", "predictions": [{"id": key, "doubt": 0.5} for key in ids]}
    with context.database.write() as connection:
        task = tasks.open_task(connection, "label-audit", "digits", details, context.clock())
    assert task is not None
    return task, ids


def test_a_reviewer_gets_pictures_and_holds_them(world: AppContext) -> None:
    ids = drawn(world)
    found = claim_items(world, "ada", 10)
    assert {each.prediction_id for each in found} == set(ids)
    shown = next(each for each in found if each.prediction_id == ids[1])
    assert (decode_png(shown.view.png or b"") == picture(1)).all()
    assert shown.claimed_until == world.clock() + timedelta(minutes=15)
    assert claim_items(world, "bob", 10) == []


@pytest.mark.parametrize("limit", [0, 101])
def test_an_impossible_number_of_answers_is_refused(world: AppContext, limit: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 100"):
        claim_items(world, "ada", limit)


def test_verdicts_on_drawn_answers_estimate_and_on_picked_ones_train(world: AppContext) -> None:
    [one, two, _] = drawn(world)
    task, (other, _) = picked(world)
    assert next(each.prediction_id for each in task_items(world, task)) == other
    given = [ReviewLabel(one, "5"), ReviewLabel(two, "3"), ReviewLabel(other, "8", task)]
    assert submit_labels(world, given, "ada") == {"audit": 2, "review": 1, "repeated": 0}
    assert submit_labels(world, given, "ada") == {"audit": 0, "review": 0, "repeated": 3}
    assert len(task_items(world, task)) == 1
    assert [each.settled for each in review_progress(world).windows] == [2, 2]
    assert labels_of(world, other) == [("8", "review", "ada")]
    with world.database.read() as connection:
        entries = [entry for entry in audit_entries.recent_entries(connection) if entry["action"] == "feedback"]
        judged_now = outcomes.outcomes_after(connection, "digits", 2, 0, 10)
    assert {(entry["actor"], entry["subject"]) for entry in entries} == {
        ("ada", f"prediction/{key}") for key in (one, two, other)
    }
    assert {entry["details"]["source"] for entry in entries} == {"audit", "review"}
    assert [(row.truth, row.source) for row in judged_now] == [("8", "correction")]


def labels_of(context: AppContext, key: str) -> list[tuple[str, str, str]]:
    with context.database.read() as connection:
        found = load_input_labels(connection, "digits")
    return [(each.label, each.source, each.reviewer) for each in found if each.prediction_id == key]


def test_a_drawn_answer_that_is_picked_keeps_its_place_in_the_draw(world: AppContext) -> None:
    """Labelled out of its turn, because it looked wrong, it would bias the estimate."""
    [one, *_] = drawn(world)
    task = open_task(world, "label-audit", [{"id": one, "doubt": 0.5}])
    assert submit_labels(world, [ReviewLabel(one, "8", task)], "ada") == {"audit": 0, "review": 1, "repeated": 0}
    assert one in [each.prediction_id for each in claim_items(world, "bob", 10)]
    assert sources(world) == [("8", "correction", 1.0)]
    submit_labels(world, [ReviewLabel(one, "5")], "bob")
    assert sources(world) == [("8", "audit", 1.0)]  # the draw says that it counts, the review what it shows


def sources(context: AppContext) -> list[tuple[str, str, float]]:
    with context.database.read() as connection:
        return [(row.truth, row.source, row.weight) for row in outcomes.outcomes_after(connection, "digits", 1, 0, 10)]


def open_task(context: AppContext, kind: tasks.TaskKind, items: list[dict[str, object]]) -> str:
    with context.database.write() as connection:
        made = tasks.open_task(connection, kind, "digits", {"predictions": items}, context.clock())
    assert made is not None
    return made


def test_a_label_review_shows_labelled_answers_and_its_verdict_outranks_what_was_there(world: AppContext) -> None:
    [one, two, _] = drawn(world)
    submit_labels(world, [ReviewLabel(one, "5"), ReviewLabel(two, "5")], "ada")
    task = open_task(world, "label-review", [{"id": one, "feedback": ["f"]}, {"id": two, "feedback": ["g"]}])
    assert [each.prediction_id for each in task_items(world, task)] == [one, two]
    assert [each.prediction_id for each in task_items(world, task, 1)] == [one]
    assert submit_labels(world, [ReviewLabel(one, "8", task)], "bob")["review"] == 1
    assert [each.prediction_id for each in task_items(world, task)] == [two]
    with world.database.read() as connection:
        rows = {
            row.prediction_id: (row.truth, row.source)
            for row in outcomes.outcomes_after(connection, "digits", 1, 0, 10)
        }
    assert rows == {one: ("8", "audit"), two: ("5", "audit")}


def test_a_verdict_must_be_about_an_answer_of_its_task(world: AppContext) -> None:
    [one, *_] = drawn(world)
    task, _ = picked(world)
    with pytest.raises(InvalidInputError, match=f"prediction {one} is not in task {task}"):
        submit_labels(world, [ReviewLabel(one, "5", task)], "ada")
    with pytest.raises(NotFoundError, match="task 'gone' is not known"):
        submit_labels(world, [ReviewLabel(one, "5", "gone")], "ada")
    assert labels_of(world, one) == []


def test_a_label_that_is_no_class_takes_nothing(world: AppContext) -> None:
    [one, two, _] = drawn(world)
    with pytest.raises(InvalidInputError, match=f"'x' for prediction {two} is not a class"):
        submit_labels(world, [ReviewLabel(one, "5"), ReviewLabel(two, "x")], "ada")
    assert review_progress(world).windows[0].settled == 0


def test_a_task_that_is_not_open_is_named_with_those_that_are(world: AppContext) -> None:
    with pytest.raises(NotFoundError, match="none is open"):
        task_items(world, "t")
    task, _ = picked(world)
    with pytest.raises(NotFoundError, match=task):
        task_items(world, "t")


def test_the_sheet_goes_out_empty_and_comes_back_filled(world: AppContext, tmp_path: Path) -> None:
    drawn(world)
    found = claim_items(world, "ada", 10)
    sheet = write_sheet(tmp_path / "batch", found)
    assert sorted(path.name for path in sheet.parent.iterdir()) == sorted(
        [SHEET_NAME, *(f"{each.prediction_id}.png" for each in found)]
    )
    assert read_sheet(sheet) == []
    first, rest = found[0].prediction_id, sheet.read_text().replace(f"{found[0].prediction_id},", "X")
    sheet.write_text(rest.replace("X", f"{first}, 7 "))
    assert read_sheet(sheet) == [ReviewLabel(first, "7")]
    with pytest.raises(InvalidInputError, match="exists; submit it first"):
        write_sheet(tmp_path / "batch", found)


def test_the_sheet_of_a_task_names_it(world: AppContext, tmp_path: Path) -> None:
    task, (one, _) = picked(world)
    sheet = write_sheet(tmp_path / "batch", task_items(world, task), task)
    sheet.write_text(sheet.read_text().replace(f"{one},,", f"{one},4,"))
    assert read_sheet(sheet) == [ReviewLabel(one, "4", task)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("id,label\na,3\n", r":2: must have the columns"),
        ("prediction_id,label\na\n", r":2: must have"),
        (None, "cannot"),
    ],
)
def test_a_broken_sheet_is_refused_with_its_line(tmp_path: Path, text: str | None, fault: str) -> None:
    sheet = tmp_path / "labels.csv"
    if text is not None:
        sheet.write_text(text)
    with pytest.raises(InvalidInputError, match=fault):
        read_sheet(sheet)


def test_progress_names_version_and_plan(world: AppContext) -> None:
    drawn(world, 2)
    found = review_progress(world)
    assert (found.version, found.plan) == (1, SamplingPlan(uniform=1.0).to_json())
    assert [row.drawn for row in found.windows] == [2, 2]
    assert found.windows[0].oldest_open == world.clock()


def test_without_a_champion_there_is_nothing_to_review(context: AppContext) -> None:
    with pytest.raises(NotFoundError, match="no champion"):
        review_progress(with_rules(context))


def test_a_sheet_of_rows_shows_their_values_and_computes_nothing(context: AppContext, tmp_path: Path) -> None:
    cells = (RowCell("age", "-41.5"), RowCell("label", "=cmd()"), RowCell("plan", "missing", is_missing=True))
    item = ReviewItem("p", context.clock(), InputView(row={}, cells=cells), None)
    sheet = write_sheet(tmp_path / "batch", [item], "t")
    assert sheet.read_text().splitlines() == [
        "prediction_id,label,task,row: age,row: label,row: plan",
        "p,,t,-41.5,'=cmd(),",
    ]
    assert sorted(path.name for path in sheet.parent.iterdir()) == [SHEET_NAME]
    sheet.write_text(sheet.read_text().replace("p,,t", "p,yes,t"))
    assert read_sheet(sheet) == [ReviewLabel("p", "yes", "t")]
