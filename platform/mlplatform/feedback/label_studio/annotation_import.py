"""Takes annotations of Label Studio as labels, from its webhooks and from its JSON export.

An annotation becomes one label: that of a drawn prediction an `audit` label, that of another queue a `review`. Sent
again it changes nothing, changed in Label Studio it takes the place of what it said before, whichever arrives first.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.feedback.label_studio.annotation_schema import (
    LabelStudioAnnotation,
    LabelStudioEvent,
    LabelStudioTask,
    LabelStudioUser,
)
from mlplatform.feedback.label_studio.task_export import CONTROL_NAME, HOLDER_PREFIX
from mlplatform.feedback.label_studio.task_signatures import SignTask, is_exported, task_signer
from mlplatform.feedback.review_consensus import CONTRADICTIONS
from mlplatform.feedback.review_queues import DISAGREEMENTS, DRAW
from mlplatform.feedback.review_tasks import ReviewLabel, record_review_labels

TAKEN_ACTIONS: Final = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED")
VALUE_KEYS: Final = {"choices": "choices", "textarea": "text"}
"""Where the value of a kind of control stands."""
BATCH_SIZE: Final = 500
COUNTS: Final = ("audit", "review", "repeated", "late", "erased", "skipped", "undecided")
_EXPORT: Final = TypeAdapter(list[LabelStudioTask])

Annotated = tuple[LabelStudioTask, LabelStudioAnnotation]


def take_event(context: AppContext, event: LabelStudioEvent, key_id: str = "") -> dict[str, int]:
    """Take the annotations of a webhook's event, all or none; returns how many became what.

    Raises InvalidInputError where its payload was left out, or its task is none that the platform exported.
    """
    if event.action not in TAKEN_ACTIONS:
        return dict.fromkeys(COUNTS, 0)
    if event.annotation is None or event.task is None:
        raise InvalidInputError(
            f"the event {event.action} comes without its annotation or its task; switch on `Send payload` of the "
            "webhook in Label Studio"
        )
    annotations = event.annotation if isinstance(event.annotation, list) else [event.annotation]
    tasks = event.task if isinstance(event.task, list) else [event.task]
    if len(annotations) != len(tasks):
        raise InvalidInputError(
            f"the event {event.action} has {len(annotations)} annotations and {len(tasks)} tasks; nothing was taken"
        )
    return _take(context, list(zip(tasks, annotations, strict=True)), key_id)


def take_export(
    context: AppContext, path: Path, on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> dict[str, int]:
    """Take every annotation of a JSON export, in batches; returns how many became what.

    Every annotation is read before the first batch is stored; a file taken in part is taken whole when sent again.
    """
    pairs = [(task, annotation) for task in _read_export(path) for annotation in task.annotations]
    _to_labels(context, pairs)
    counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    for first in range(0, len(pairs), BATCH_SIZE):
        on_progress(first, len(pairs))
        counts.update(_take(context, pairs[first : first + BATCH_SIZE], ""))
    return dict(counts)


def _read_export(path: Path) -> list[LabelStudioTask]:
    try:
        return _EXPORT.validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error}); give Label Studio's export in its JSON form"
        ) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise InvalidInputError(
            f"{path} is no JSON export of Label Studio: {place}: {fault['msg']}; choose `JSON` there, not `JSON-MIN` "
            "or another form"
        ) from error


def _take(context: AppContext, pairs: Sequence[Annotated], key_id: str) -> dict[str, int]:
    labels = _to_labels(context, pairs)
    counts = dict.fromkeys(COUNTS, 0) | {"skipped": len(pairs) - len(labels)}
    for label, receipt in record_review_labels(context, labels, key_id=key_id):
        outcome = "undecided" if receipt is None else receipt.outcome
        counts[outcome if outcome in COUNTS else label.source] += 1
    return counts


def _to_labels(context: AppContext, pairs: Iterable[Annotated]) -> list[ReviewLabel]:
    """The label of each annotation that has one; raises InvalidInputError."""
    sign = task_signer(context)
    return [label for task, annotation in pairs for label in _labels_of(context, sign, task, annotation)]


def _labels_of(
    context: AppContext, sign: SignTask, task: LabelStudioTask, annotation: LabelStudioAnnotation
) -> Iterator[ReviewLabel]:
    """An annotation's label; none where the task was skipped or nothing was chosen."""
    data, about = task.data, f"annotation {annotation.id} of Label Studio's task {task.id}"
    if not data.prediction_id:
        raise InvalidInputError(
            f"{about} leads to no prediction: the task's data has no `prediction_id`. Import the tasks that "
            "`platform label-studio export` writes, and give other projects no webhook to here"
        )
    if data.model and data.model != context.model_name:
        raise InvalidInputError(
            f"{about} is for model {data.model!r}, and labels for {context.model_name!r} are taken here"
        )
    if not is_exported(sign, data.prediction_id, data.queue, data.signature):
        raise InvalidInputError(
            f"{about} was not exported here, or its data was changed: its `signature` is not that of its prediction "
            "and queue. Import the tasks that `platform label-studio export` writes as they are"
        )
    chosen = [] if annotation.was_cancelled else list(_chosen(annotation))
    if len(chosen) > 1:
        raise InvalidInputError(
            f"{about} says {len(chosen)} things: {', '.join(map(repr, chosen[:5]))}; one label is taken. Keep "
            f'choice="single" in the labelling configuration'
        )
    if chosen:
        at = _given_at(annotation, context.clock())
        yield ReviewLabel(
            data.prediction_id,
            chosen[0],
            task="" if data.queue in (DRAW, DISAGREEMENTS, CONTRADICTIONS) else data.queue,
            picked=data.queue == DISAGREEMENTS,
            queue=data.queue,
            reviewer=_reviewer(annotation.completed_by),
            at=at,
            key=f"{HOLDER_PREFIX}{data.prediction_id}:{str(annotation.id)[:60]}:{at.isoformat()}",
        )


def _chosen(annotation: LabelStudioAnnotation) -> Iterator[str]:
    for result in annotation.result:
        if result.from_name == CONTROL_NAME and result.type in VALUE_KEYS:
            values: Any = result.value.get(VALUE_KEYS[result.type], [])
            yield from (str(value).strip() for value in (values if isinstance(values, list) else [values]))


def _given_at(annotation: LabelStudioAnnotation, now: datetime) -> datetime:
    """When the annotation was last changed, by Label Studio's clock where that is not ahead of this one."""
    at = annotation.updated_at or annotation.created_at or now
    return min(at if at.tzinfo else at.replace(tzinfo=UTC), now)


def _reviewer(user: int | LabelStudioUser | None) -> str:
    """The reviewer that a user is kept as: by number, which webhooks and exports both know."""
    if isinstance(user, LabelStudioUser):
        return f"{HOLDER_PREFIX}{user.id if user.id is not None else user.email or 'unknown'}"
    return f"{HOLDER_PREFIX}{'unknown' if user is None else user}"
