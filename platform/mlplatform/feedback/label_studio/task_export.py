"""Exports inputs that wait for a label as tasks of Label Studio, with the labelling configuration that fits them.

A task holds the input, the id of its prediction and the queue that it comes from, signed, and never the model's answer.
What is exported is held, so a second export and the review page give other inputs; it is free again when the time is
over.
"""

from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from xml.etree import ElementTree as ET

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback.label_studio.task_signatures import SignTask, task_signer
from mlplatform.feedback.review_queues import claim_item, claimable_items, find_queue
from mlplatform.feedback.review_tasks import ReviewItem, load_item
from mlplatform.ids import uuid7
from mlplatform.predictions import review_samples
from mlplatform.store.label_rules import LabelRules

MAX_TASKS: Final = 1_000
MAX_HOLD: Final = timedelta(days=90)
DEFAULT_HOLD: Final = timedelta(days=7)
CONTROL_NAME: Final = "label"
"""The control of the configuration whose value is the label."""
OBJECT_NAME: Final = "input"
HOLDER_PREFIX: Final = "label-studio:"
"""Before what holds exported inputs, and before the number of a Label Studio user who gives labels."""


@dataclass(frozen=True)
class LabelStudioProject:
    """What a project of Label Studio is made from: its labelling configuration (XML), and tasks to import (JSON)."""

    label_config: str
    tasks: list[dict[str, Any]]


def export_tasks(context: AppContext, queue_id: str, limit: int, hold: timedelta = DEFAULT_HOLD) -> LabelStudioProject:
    """Hold the next inputs of a queue and give them as tasks; raises NotFoundError for a queue that is not open."""
    if not 1 <= limit <= MAX_TASKS:
        raise InvalidInputError(f"limit {limit} cannot be; export 1 to {MAX_TASKS} tasks at once")
    if not timedelta(0) < hold <= MAX_HOLD:
        raise InvalidInputError(f"inputs cannot be held for {hold}; give a time of at most {MAX_HOLD.days} days")
    sign = task_signer(context)
    ids = _hold_items(context, queue_id, limit, hold)
    tasks = []
    with context.database.read() as connection:
        rules = context.contracts.label_rules(connection, context.model_name)
        for prediction_id in ids:
            try:
                item = load_item(connection, context, prediction_id)
            except NotFoundError:  # its input was forgotten meanwhile
                continue
            tasks.append({"data": _task_data(context.model_name, queue_id, item, sign)})
    is_table = any("row" in task["data"] for task in tasks)
    return LabelStudioProject(label_config(rules, is_table=is_table), tasks)


def label_config(rules: LabelRules, *, is_table: bool) -> str:
    """The labelling configuration: the input, and a choice of the classes or a line of text."""
    view = ET.Element("View")
    if is_table:
        ET.SubElement(view, "Table", name=OBJECT_NAME, value="$row")
    else:
        ET.SubElement(view, "Image", name=OBJECT_NAME, value="$image", zoom="true")
    about = {"name": CONTROL_NAME, "toName": OBJECT_NAME, "required": "true"}
    if rules.classes:
        choices = ET.SubElement(view, "Choices", about, choice="single", showInline="true")
        for name in rules.classes:
            ET.SubElement(choices, "Choice", value=name)
    else:
        ET.SubElement(view, "TextArea", about, maxSubmissions="1", rows="1", placeholder=rules.hint)
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _hold_items(context: AppContext, queue_id: str, limit: int, hold: timedelta) -> list[str]:
    """The predictions that are held from now on, each export by a holder of its own."""
    now, model, holder = context.clock(), context.model_name, f"{HOLDER_PREFIX}{uuid7()}"
    consensus = context.settings.review_consensus
    with context.database.write() as connection:
        queue = find_queue(connection, model, queue_id, consensus)
        if queue.kind == "draw":
            claims = review_samples.claim_samples(connection, model, holder, limit, hold, now)
            return [claim.prediction_id for claim in claims]
        waiting = claimable_items(connection, model, queue, holder, now, consensus)[:limit]
        return [key for key in waiting if claim_item(connection, key, queue, holder, now, hold)]


def _task_data(model: str, queue_id: str, item: ReviewItem, sign: SignTask) -> dict[str, Any]:
    """The `data` of a task: what the configuration shows, and what leads its annotation back."""
    data: dict[str, Any] = {"prediction_id": item.prediction_id, "model": model, "queue": queue_id}
    data["signature"] = sign(item.prediction_id, queue_id)
    if item.view.png is None:
        return data | {"row": {cell.name: cell.text for cell in item.view.cells}}
    return data | {"image": f"data:image/png;base64,{b64encode(item.view.png).decode()}"}
