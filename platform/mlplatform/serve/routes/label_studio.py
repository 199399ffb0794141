"""Routes for Label Studio: inputs as its tasks, and its webhook, which brings annotations as labels."""

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from msgspec import UNSET, UnsetType, defstruct
from pydantic import Field, JsonValue

from mlplatform.auth.caller import caller_of
from mlplatform.context import AppContext
from mlplatform.feedback.label_studio.annotation_import import take_event
from mlplatform.feedback.label_studio.annotation_schema import LabelStudioData, LabelStudioEvent
from mlplatform.feedback.label_studio.task_export import DEFAULT_HOLD, MAX_HOLD, MAX_TASKS, export_tasks
from mlplatform.feedback.review_queues import DRAW
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel
from mlplatform.serve.openapi_examples import ID, PNG, TIMESTAMP, response_example
from mlplatform.serve.routes.request_body import JsonBody
from mlplatform.serve.schemas import PROBLEM_RESPONSES
from mlplatform.serve.thread_pool import ThreadPool

HOUR: Final = timedelta(hours=1)
SIGNATURE: Final = "q0nJx8bUu0mMwB0zq8k3Jm2m6Yv2tq2fY3iZcQv1l1k"
TASKS_EXAMPLE: Final = {"queue": "draw", "limit": 100, "hold_hours": 168}
PROJECT_EXAMPLE: Final = {
    "label_config": '<View>\n  <Image name="input" value="$image" zoom="true" />\n  <Choices name="label" '
    'toName="input" required="true" choice="single" showInline="true">\n    <Choice value="3" />\n  </Choices>\n'
    "</View>\n",
    "tasks": [
        {
            "data": {
                "prediction_id": ID,
                "model": "digits",
                "queue": "draw",
                "signature": SIGNATURE,
                "image": f"data:image/png;base64,{PNG}",
            }
        }
    ],
}
EVENT_EXAMPLE: Final = {
    "action": "ANNOTATION_CREATED",
    "annotation": {
        "id": 17,
        "result": [{"from_name": "label", "type": "choices", "value": {"choices": ["3"]}}],
        "was_cancelled": False,
        "completed_by": 1,
        "updated_at": TIMESTAMP,
    },
    "task": {"id": 19, "data": {"prediction_id": ID, "model": "digits", "queue": "draw", "signature": SIGNATURE}},
}
COUNTS_EXAMPLE: Final = {"audit": 1, "review": 0, "repeated": 0, "late": 0, "erased": 0, "skipped": 0, "undecided": 0}


class LabelStudioTasksIn(ApiModel):
    """Which inputs to export."""

    queue: str = Field(
        DRAW,
        max_length=64,
        pattern=NO_NUL_PATTERN,
        description="draw, disagreements, contradictions, or a task's id.",
    )
    limit: int = Field(100, ge=1, le=MAX_TASKS, description="How many, at most.")
    hold_hours: float = Field(
        DEFAULT_HOLD / HOUR, gt=0, le=MAX_HOLD / HOUR, description="For how long nobody else is given them."
    )


class LabelStudioTasksOut(ApiModel):
    """What a project of Label Studio is made from."""

    label_config: str = Field(description="The labelling configuration, XML.")
    tasks: list[dict[str, JsonValue]] = Field(description="Tasks in the form that Label Studio imports.")


class LabelStudioCountsOut(ApiModel):
    """How many annotations became what; `skipped` have no label, `undecided` ones wait for other reviewers."""

    audit: int
    review: int
    repeated: int
    late: int
    erased: int
    skipped: int
    undecided: int


def label_studio_router(context: AppContext, pool: ThreadPool, route_class: type[APIRoute]) -> APIRouter:
    """POST of the export and of the webhook."""
    router = APIRouter(route_class=route_class, tags=["feedback"], responses=PROBLEM_RESPONSES)
    wanted_body = JsonBody[LabelStudioTasksIn](pool, LabelStudioTasksIn, example=TASKS_EXAMPLE)
    event_body = JsonBody[LabelStudioEvent](pool, LabelStudioEvent, _event_shape(), example=EVENT_EXAMPLE)

    @router.post(
        "/v1/review/label-studio/tasks",
        responses=response_example(PROJECT_EXAMPLE),
        openapi_extra=wanted_body.openapi,
    )
    def tasks(wanted: Annotated[LabelStudioTasksIn, Depends(wanted_body)]) -> LabelStudioTasksOut:
        """Inputs that wait for a label as tasks of Label Studio, without the model's answers; they are held."""
        project = export_tasks(context, wanted.queue, wanted.limit, wanted.hold_hours * HOUR)
        return LabelStudioTasksOut(label_config=project.label_config, tasks=project.tasks)

    @router.post(
        "/v1/review/label-studio", responses=response_example(COUNTS_EXAMPLE), openapi_extra=event_body.openapi
    )
    def webhook(event: Annotated[LabelStudioEvent, Depends(event_body)], request: Request) -> LabelStudioCountsOut:
        """Take an event of a Label Studio webhook; its annotations become labels, once."""
        return LabelStudioCountsOut(**take_event(context, event, caller_of(request).key_id))

    return router


def _event_shape() -> Any:  # noqa: ANN401 - a struct that is made here
    """The shape of an event while it is parsed: what is not read, such as pictures, is passed over at once."""
    scalar = str | int | float | bool | None
    result = _optional("Result", from_name=scalar, type=scalar, value=dict[str, Any])
    user = _optional("User", id=scalar, email=scalar)
    annotation = _optional(
        "Annotation",
        id=scalar,
        result=list[result],  # type: ignore[valid-type]
        completed_by=user | scalar,
        was_cancelled=scalar,
        created_at=scalar,
        updated_at=scalar,
    )
    task = _optional("Task", id=scalar, data=_optional("Data", **dict.fromkeys(LabelStudioData.model_fields, scalar)))
    one_or_many = {"annotation": annotation | list[annotation] | None, "task": task | list[task] | None}  # type: ignore[valid-type]
    return _optional("Event", action=scalar, **one_or_many)


def _optional(name: str, **fields: Any) -> Any:  # noqa: ANN401 - types, and a struct of them
    """A struct of fields that may be missing, beside others that are passed over."""
    return defstruct(name, [(field, kind | UnsetType, UNSET) for field, kind in fields.items()], gc=False)
