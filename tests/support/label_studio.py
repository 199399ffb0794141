"""What Label Studio writes: events of webhooks, and its JSON export, with the fields that its documentation names."""

from typing import Any

PROJECT: dict[str, Any] = {
    "id": 2,
    "title": "digits",
    "description": "",
    "label_config": "<View></View>",
    "expert_instruction": "",
    "show_instruction": False,
    "show_skip_button": True,
    "enable_empty_annotation": True,
    "token": "9105a1d897e52286",
    "maximum_annotations": 1,
    "control_weights": {"label": {"overall": 1.0, "type": "Choices", "labels": {"3": 1.0, "8": 1.0}}},
    "created_at": "2025-12-30T13:49:34.326416Z",
    "updated_at": "2025-12-31T13:52:09.334425Z",
    "sampling": "Sequential sampling",
    "organization": 1,
    "created_by": 1,
    "task_number": 100,
    "finished_task_number": 3,
    "total_annotations_number": 3,
    "skipped_annotations_number": 1,
}


def choice(label: str) -> list[dict[str, Any]]:
    """The result of one choice."""
    value = {"choices": [label]}
    return [
        {
            "value": value,
            "id": "WArqkkifYE",
            "from_name": "label",
            "to_name": "input",
            "type": "choices",
            "origin": "manual",
        }
    ]


def written(text: str) -> list[dict[str, Any]]:
    """The result of one line of text."""
    value = {"text": [text]}
    return [{"value": value, "id": "b0wKkdnnRc", "from_name": "label", "to_name": "input", "type": "textarea"}]


def annotation(
    number: int, result: list[dict[str, Any]], updated_at: str = "2026-01-01T12:00:10.536370Z", **changes: object
) -> dict[str, Any]:
    """An annotation as webhooks and exports have it."""
    return {
        "id": number,
        "result": result,
        "completed_by": 7,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-01-01T12:00:10.536303Z",
        "updated_at": updated_at,
        "draft_created_at": None,
        "lead_time": 3.713,
        "prediction": {},
        "result_count": len(result),
        "unique_id": "a9d9b1c3-5a0c-4f0e-8f3e-3a0a2f6d9d11",
        "import_id": None,
        "last_action": None,
        "bulk_created": False,
        "task": 19,
        "project": 2,
        "updated_by": 7,
        "parent_prediction": None,
        "parent_annotation": None,
        "last_created_by": None,
        **changes,
    }


def task(data: dict[str, Any], number: int = 19) -> dict[str, Any]:
    """A task as it comes back, with the data that it was imported with."""
    return {
        "id": number,
        "data": data,
        "meta": {},
        "created_at": "2025-12-31T13:51:02.590839Z",
        "updated_at": "2026-01-01T12:00:10.590873Z",
        "is_labeled": True,
        "overlap": 1,
        "inner_id": number,
        "total_annotations": 1,
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": 2,
        "updated_by": 7,
        "file_upload": 46,
        "comment_authors": [],
    }


def event(data: dict[str, Any], given: dict[str, Any], action: str = "ANNOTATION_CREATED") -> dict[str, Any]:
    """The event of one annotation."""
    return {"action": action, "annotation": given, "project": PROJECT, "task": task(data)}


def exported(*tasks: tuple[dict[str, Any], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The JSON export of tasks with their annotations."""
    return [
        {
            **task(data, number),
            "annotations": annotations,
            "file_upload": "5c1ae8e3-tasks.json",
            "drafts": [],
            "predictions": [],
        }
        for number, (data, annotations) in enumerate(tasks, start=1)
    ]
