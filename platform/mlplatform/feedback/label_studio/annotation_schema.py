"""What is read of Label Studio's JSON: events of its webhooks, and tasks with annotations of its JSON export.

Both hold much more, which differs by version and edition and is passed over.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mlplatform.schema_base import NO_NUL_PATTERN

Text = Annotated[str, StringConstraints(max_length=200, pattern=NO_NUL_PATTERN)]
Number = Annotated[int, Field(ge=0, lt=2**63)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class LabelStudioUser(_Read):
    """Who annotated, where Label Studio writes more than a number."""

    id: Number | None = None
    email: Text = ""


class LabelStudioResult(_Read):
    """The value of one control; `value` has the choices of a `choices`, and the `text` of a `textarea`."""

    from_name: Text = ""
    type: Text = ""
    value: dict[str, Any] = {}


class LabelStudioAnnotation(_Read):
    """What somebody said of a task; `was_cancelled` when they skipped it."""

    id: Number | Text
    result: list[LabelStudioResult] = []
    was_cancelled: bool = False
    completed_by: Number | LabelStudioUser | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class LabelStudioData(_Read):
    """What leads an annotation back to its prediction, as the export wrote it."""

    prediction_id: Annotated[str, StringConstraints(max_length=64, pattern=NO_NUL_PATTERN)] = ""
    model: Text = ""
    queue: Text = ""
    signature: Text = ""


class LabelStudioTask(_Read):
    """A task with its annotations, as the JSON export has them; in an event the annotations stand beside it."""

    id: Number | Text = 0
    data: LabelStudioData = LabelStudioData()
    annotations: list[LabelStudioAnnotation] = []


class LabelStudioEvent(_Read):
    """An event of a webhook, with its payload where it is about annotations."""

    action: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="Annotations of ANNOTATION_CREATED, ANNOTATIONS_CREATED and ANNOTATION_UPDATED are taken; every "
        "other event is answered with nothing taken."
    )
    annotation: LabelStudioAnnotation | list[LabelStudioAnnotation] | None = None
    task: LabelStudioTask | list[LabelStudioTask] | None = None
