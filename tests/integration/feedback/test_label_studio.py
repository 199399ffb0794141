"""Label Studio: inputs go out as its tasks, its annotations come back as labels, once."""

import json
from base64 import b64decode
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_studio.annotation_import import take_event, take_export
from mlplatform.feedback.label_studio.annotation_schema import LabelStudioEvent
from mlplatform.feedback.label_studio.project_files import create_folder, write_project
from mlplatform.feedback.label_studio.task_export import export_tasks, label_config
from mlplatform.feedback.review_queues import list_queues
from mlplatform.feedback.review_session import claim_next
from mlplatform.feedback.review_tasks import claim_items
from mlplatform.store.label_rules import label_rules
from pipelines.image.grey_png import decode_png
from registry.model_contract import ImageInputs, ModelContract
from registry.prediction_task import Classification, Sequence
from tests.support import label_studio
from tests.support.label_studio import annotation, choice, event, exported, written
from tests.support.monitoring_world import tick
from tests.support.platform_world import FakeCatalog, picture
from tests.support.review_world import disagreeing, draw_all, drawn, open_audit, undrawn

pytestmark = pytest.mark.both_databases
NOTHING = {"audit": 0, "review": 0, "repeated": 0, "late": 0, "erased": 0, "skipped": 0, "undecided": 0}


def take(context: AppContext, body: dict[str, Any]) -> dict[str, int]:
    return {name: n for name, n in take_event(context, LabelStudioEvent.model_validate(body)).items() if n}


def labels_of(context: AppContext, prediction_id: str) -> list[tuple[str, str]]:
    with context.database.read() as connection:
        return [(row.label, row.source) for row in label_records.current_labels(connection, prediction_id)]


@pytest.fixture
def world(context: AppContext) -> AppContext:
    draw_all(context)
    tick(context, minutes=1)
    return context


def test_drawn_pictures_are_exported_with_their_classes_and_held(world: AppContext) -> None:
    ids = drawn(world)
    project = export_tasks(world, "draw", 2)
    config = ET.fromstring(project.label_config)
    assert [each.get("value") for each in config.iter("Choice")] == list("0123456789")
    assert {config.find("Image").get("value"), config.find("Choices").get("toName")} == {"$image", "input"}  # type: ignore[union-attr]
    assert len(project.tasks) == 2
    for exported_task in project.tasks:
        data = exported_task["data"]
        assert set(data) == {
            "prediction_id",
            "model",
            "queue",
            "signature",
            "image",
        }  # and nothing of the model's answer
        png = b64decode(data["image"].removeprefix("data:image/png;base64,"))
        assert (decode_png(png) == picture(ids.index(data["prediction_id"]))).all()
    [left] = claim_items(world, "ada", 10)
    assert {left.prediction_id} == set(ids) - {each["data"]["prediction_id"] for each in project.tasks}
    assert export_tasks(world, "draw", 10).tasks == []
    tick(world, minutes=7 * 24 * 60)
    assert len(export_tasks(world, "draw", 10).tasks) == 3


def test_tasks_and_disagreements_are_exported_and_held_too(world: AppContext) -> None:
    ids = undrawn(world)
    task = open_audit(world, ids[:1])
    disagreeing(world, ids[1:])
    for queue, key in ((task, ids[0]), ("disagreements", ids[1])):
        [exported_task] = export_tasks(world, queue, 10).tasks
        assert exported_task["data"]["prediction_id"] == key
        assert claim_next(world, queue, "ada") is None
    with pytest.raises(NotFoundError, match="open: draw"):
        export_tasks(world, "nothing", 10)
    with pytest.raises(InvalidInputError, match="1 to 1000"):
        export_tasks(world, "draw", 1001)
    with pytest.raises(InvalidInputError, match="at most 90 days"):
        export_tasks(world, "draw", 1, timedelta(days=91))


def test_an_annotation_of_a_drawn_answer_estimates_and_of_a_picked_one_trains(world: AppContext) -> None:
    drawn(world, 1)
    audited, differing = undrawn(world)
    open_audit(world, [audited])
    disagreeing(world, [differing])
    with world.database.read() as connection:
        queues = [queue.id for queue in list_queues(connection, "digits")]
    for number, (queue, source) in enumerate(zip(queues, ("audit", "review", "review"), strict=True)):
        [exported_task] = export_tasks(world, queue, 1).tasks
        tick(world, minutes=1)
        assert take(world, event(exported_task["data"], annotation(number, choice("8")))) == {source: 1}
        assert labels_of(world, exported_task["data"]["prediction_id"]) == [("8", source)]


def test_an_event_sent_again_changes_nothing_and_a_changed_annotation_replaces(world: AppContext) -> None:
    drawn(world, 1)
    [exported_task] = export_tasks(world, "draw", 1).tasks
    data = exported_task["data"]
    tick(world, minutes=5)
    created = event(data, annotation(17, choice("8")))
    updated = event(data, annotation(17, choice("3"), "2026-01-01T12:02:00Z"), "ANNOTATION_UPDATED")
    assert [take(world, body) for body in (created, created)] == [{"audit": 1}, {"repeated": 1}]
    assert [take(world, body) for body in (updated, updated, created)] == [
        {"audit": 1},
        {"repeated": 1},
        {"repeated": 1},
    ]
    assert labels_of(world, data["prediction_id"]) == [("3", "audit")]


def test_an_update_that_overtakes_its_annotation_stands(world: AppContext) -> None:
    drawn(world, 1)
    [exported_task] = export_tasks(world, "draw", 1).tasks
    data = exported_task["data"]
    tick(world, minutes=5)
    updated = event(data, annotation(17, choice("3"), "2026-01-01T12:02:00Z"), "ANNOTATION_UPDATED")
    assert take(world, updated) == {"audit": 1}
    assert take(world, event(data, annotation(17, choice("8")))) == {"late": 1}
    assert labels_of(world, data["prediction_id"]) == [("3", "audit")]


def test_what_says_nothing_is_counted_and_other_events_are_passed_over(world: AppContext) -> None:
    drawn(world, 1)
    data = export_tasks(world, "draw", 1).tasks[0]["data"]
    assert take(world, event(data, annotation(1, [], was_cancelled=True))) == {"skipped": 1}
    assert take(world, event(data, annotation(2, []))) == {"skipped": 1}
    assert take(world, {"action": "TASKS_CREATED", "tasks": [label_studio.task(data)]}) == {}
    assert take(world, {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}]}) == {}
    many = {
        "action": "ANNOTATIONS_CREATED",
        "annotation": [annotation(3, choice("5"))],
        "task": [label_studio.task(data)],
    }
    tick(world, minutes=1)
    assert take(world, many) == {"audit": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": None}, "switch on `Send payload`"),
        (
            {"task": label_studio.task({"text": "other"})},
            "annotation 17 .* task 19 leads to no prediction",
        ),
        ({"annotation": annotation(17, choice("3") + choice("8"))}, "says 2 things: '3', '8'"),
        ({"annotation": annotation(17, choice("x"))}, "label 'x' for prediction .* is not a class"),
        ({"annotation": [annotation(17, choice("3"))] * 2}, "has 2 annotations and 1 tasks"),
    ],
)
def test_what_cannot_be_a_label_is_refused_and_named(world: AppContext, change: dict[str, Any], said: str) -> None:
    drawn(world, 1)
    data = export_tasks(world, "draw", 1).tasks[0]["data"]
    with pytest.raises(InvalidInputError, match=said):
        take(world, event(data, annotation(17, choice("3"))) | change)
    with pytest.raises(InvalidInputError, match="for model 'letters'"):
        take(world, event(data | {"model": "letters"}, annotation(17, choice("3"))))
    assert labels_of(world, data["prediction_id"]) == []


def test_an_export_is_taken_once_whoever_sent_its_annotations_before(world: AppContext, tmp_path: Path) -> None:
    drawn(world, 3)
    one, two, three = (each["data"] for each in export_tasks(world, "draw", 3).tasks)
    tick(world, minutes=1)
    person = {"id": 7, "email": "ada@example.com", "first_name": "Ada", "last_name": ""}
    assert take(world, event(one, annotation(1, choice("1")))) == {"audit": 1}
    path = tmp_path / "project-2.json"
    content = exported(
        (one, [annotation(1, choice("1"), completed_by=person)]),
        (two, [annotation(2, choice("2")), annotation(3, choice("7"), completed_by=8)]),
        (three, [annotation(4, [], was_cancelled=True)]),
    )
    path.write_text(json.dumps(content), encoding="utf-8")
    assert take_export(world, path) == NOTHING | {"audit": 2, "repeated": 1, "skipped": 1}
    assert take_export(world, path) == NOTHING | {"repeated": 3, "skipped": 1}
    assert sorted(labels_of(world, two["prediction_id"])) == [("2", "audit"), ("7", "audit")]  # of two people


def test_only_what_was_exported_is_labelled_and_as_what_it_was(world: AppContext, tmp_path: Path) -> None:
    first, second = drawn(world, 2)
    task = open_audit(world, [first])
    held, free = (export_tasks(world, queue, 1).tasks[0]["data"] for queue in (task, "draw"))
    tick(world, minutes=1)
    for changed in (
        {"queue": "draw"},  # a picked answer would estimate
        {"queue": ""},
        {"queue": "disagreements"},
        {"prediction_id": second},
        {"signature": ""},
        {"signature": "é"},
        {"queue": "draw", "signature": free["signature"] + held["signature"]},
    ):
        sent = event(held | changed, annotation(1, choice("4")))
        with pytest.raises(InvalidInputError, match="was not exported here, or its data was changed"):
            take(world, sent)
        path = tmp_path / "export.json"
        path.write_text(json.dumps(exported((held | changed, [annotation(1, choice("4"))]))), encoding="utf-8")
        with pytest.raises(InvalidInputError, match="was not exported here"):
            take_export(world, path)
    assert labels_of(world, first) == labels_of(world, second) == []
    assert take(world, event(held, annotation(1, choice("4")))) == {"review": 1}


@pytest.mark.parametrize("content", ["", "{}", '[{"id": 1, "annotations": [{"result": []}]}]', '[{"data": 3}]'])
def test_another_file_is_refused(world: AppContext, tmp_path: Path, content: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="is no JSON export of Label Studio"):
        take_export(world, path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        take_export(world, tmp_path / "none.json")


def test_one_wrong_annotation_keeps_the_whole_file_out(world: AppContext, tmp_path: Path) -> None:
    drawn(world, 2)
    one, two = (each["data"] for each in export_tasks(world, "draw", 2).tasks)
    path = tmp_path / "export.json"
    broken = annotation(2, choice("2") + choice("3"))
    path.write_text(json.dumps(exported((one, [annotation(1, choice("1"))]), (two, [broken]))), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="one label is taken"):
        take_export(world, path)
    assert labels_of(world, one["prediction_id"]) == []


def test_files_of_a_project_are_never_replaced(world: AppContext, tmp_path: Path) -> None:
    drawn(world, 1)
    project = export_tasks(world, "draw", 1)
    folder = tmp_path / "new" / "folder"
    create_folder(folder)
    tasks, config = write_project(project, folder)
    assert json.loads(tasks.read_text(encoding="utf-8")) == project.tasks
    assert config.read_text(encoding="utf-8") == project.label_config
    with pytest.raises(InvalidInputError, match="exists"):
        create_folder(folder)


def test_names_of_classes_cannot_break_the_configuration() -> None:
    names = ('"/><script>', "a & b", "ünï")
    config = ET.fromstring(label_config(label_rules([Classification(names)]), is_table=True))
    assert [each.get("value") for each in config.iter("Choice")] == list(names)
    assert config.find("Table") is not None


def test_texts_are_written_into_a_line(context: AppContext) -> None:
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts["digits", 1] = ModelContract(ImageInputs(28, 28), Sequence("0123456789", 9, "edits"))
    draw_all(context)
    drawn(context, 1)
    project = export_tasks(context, "draw", 1)
    assert "<Choices" not in project.label_config
    area = ET.fromstring(project.label_config).find("TextArea")
    assert area is not None
    assert (area.get("name"), area.get("maxSubmissions")) == ("label", "1")
    tick(context, minutes=1)
    data = project.tasks[0]["data"]
    assert take(context, event(data, annotation(1, written(" 123 ")))) == {"audit": 1}
    assert labels_of(context, data["prediction_id"]) == [("123", "audit")]
