"""People reviewing answers: what they are given, what becomes of their verdicts."""

from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.build import Parts
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.review import (
    SHEET,
    Verdict,
    export,
    next_answers,
    picked_answers,
    progress,
    read_sheet,
    submit,
)
from mlplatform.serve.decode import from_png
from mlplatform.store import audit, plans, tasks
from monitors.sampling import Plan
from tests.mlplatform.conftest import picture, prediction, recorded
from tests.mlplatform.loop_world import promote, tick, with_rules


@pytest.fixture
def world(parts: Parts) -> Parts:
    promote(with_rules(parts))
    with parts.database.write() as connection:
        plans.publish(connection, "digits", 1, Plan(uniform=1.0).to_json(), parts.clock())
    tick(parts, minutes=1)
    return parts


def drawn(parts: Parts, count: int = 3) -> list[str]:
    return recorded(parts.database, *(prediction(parts.clock(), seed=seed) for seed in range(count)))


def picked(parts: Parts, count: int = 2) -> tuple[str, list[str]]:
    """An open label audit of answers of another version, which is not drawn from."""
    ids = recorded(parts.database, *(prediction(parts.clock(), seed=seed, version=2) for seed in range(count)))
    details = {"class": "3", "predictions": [{"id": key, "doubt": 0.5} for key in ids]}
    with parts.database.write() as connection:
        task = tasks.open_task(connection, "label-audit", "digits", details, parts.clock())
    assert task is not None
    return task, ids


def test_a_reviewer_gets_pictures_and_holds_them(world: Parts) -> None:
    ids = drawn(world)
    found = next_answers(world, "ada", 10)
    assert {each.prediction_id for each in found} == set(ids)
    shown = next(each for each in found if each.prediction_id == ids[1])
    assert (from_png(shown.png) == picture(1)).all()
    assert shown.until == world.clock() + timedelta(minutes=15)
    assert next_answers(world, "bob", 10) == []


@pytest.mark.parametrize("limit", [0, 101])
def test_an_impossible_number_of_answers_is_refused(world: Parts, limit: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 100"):
        next_answers(world, "ada", limit)


def test_verdicts_on_drawn_answers_estimate_and_on_picked_ones_train(world: Parts) -> None:
    [one, two, _] = drawn(world)
    task, (other, _) = picked(world)
    assert next(each.prediction_id for each in picked_answers(world, task)) == other
    given = [Verdict(one, "5"), Verdict(two, "3"), Verdict(other, "8")]
    assert submit(world, given, "ada") == {"audit": 2, "correction": 1, "repeated": 0}
    assert submit(world, given, "ada") == {"audit": 0, "correction": 0, "repeated": 3}
    assert len(picked_answers(world, task)) == 1
    assert [each.settled for each in map(_Window.of, progress(world)["windows"])] == [2, 2]
    with world.database.read() as connection:
        entries = [entry for entry in audit.entries(connection) if entry["action"] == "feedback"]
    assert {(entry["actor"], entry["subject"]) for entry in entries} == {
        ("ada", f"prediction/{key}") for key in (one, two, other)
    }


class _Window:
    """A row of the progress table."""

    def __init__(self, drawn: int, settled: int) -> None:
        self.drawn, self.settled = drawn, settled

    @classmethod
    def of(cls, row: dict[str, int]) -> "_Window":
        return cls(row["drawn"], row["settled"])


def test_a_label_that_is_no_class_takes_nothing(world: Parts) -> None:
    [one, two, _] = drawn(world)
    with pytest.raises(InvalidInputError, match=f"'x' for prediction {two} is not a class"):
        submit(world, [Verdict(one, "5"), Verdict(two, "x")], "ada")
    assert progress(world)["windows"][0]["settled"] == 0


def test_a_task_that_is_not_open_is_named_with_those_that_are(world: Parts) -> None:
    with pytest.raises(NotFoundError, match="none is open"):
        picked_answers(world, "t")
    task, _ = picked(world)
    with pytest.raises(NotFoundError, match=task):
        picked_answers(world, "t")


def test_the_sheet_goes_out_empty_and_comes_back_filled(world: Parts, tmp_path: Path) -> None:
    drawn(world)
    found = next_answers(world, "ada", 10)
    sheet = export(tmp_path / "batch", found)
    assert sorted(path.name for path in sheet.parent.iterdir()) == sorted(
        [SHEET, *(f"{each.prediction_id}.png" for each in found)]
    )
    assert read_sheet(sheet) == []
    first, rest = found[0].prediction_id, sheet.read_text().replace(f"{found[0].prediction_id},", "X")
    sheet.write_text(rest.replace("X", f"{first}, 7 "))
    assert read_sheet(sheet) == [Verdict(first, "7")]
    with pytest.raises(InvalidInputError, match="exists; submit it first"):
        export(tmp_path / "batch", found)


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


def test_progress_names_version_and_plan(world: Parts) -> None:
    drawn(world, 2)
    found = progress(world)
    assert (found["version"], found["plan"]) == (1, Plan(uniform=1.0).to_json())
    assert [row["drawn"] for row in found["windows"]] == [2, 2]
    assert found["windows"][0]["oldest_open"] == world.clock()


def test_without_a_champion_there_is_nothing_to_review(parts: Parts) -> None:
    with pytest.raises(NotFoundError, match="no champion"):
        progress(with_rules(parts))
