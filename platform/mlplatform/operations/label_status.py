"""How labels stand, for people: those that wait, were given up, or estimate nothing, and what a retraining used."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from mlplatform.feedback import pending_labels, uncounted_labels
from mlplatform.feedback.label_ingestion import expired_label_count
from mlplatform.feedback.pending_labels import MAX_WAIT
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import usage_sentence


def label_status(connection: Connection, model: str, now: datetime) -> dict[str, Any]:
    """The numbers, and what became of the labels in the model's last retraining that was judged."""
    last = last_evaluated_retraining(connection, model)
    return {
        "waiting": pending_labels.count_pending(connection),
        "waiting_since": pending_labels.oldest_received_at(connection),
        "given_up": expired_label_count(connection, now),
        "not_drawn_for_audit": uncounted_labels.count_unsampled(connection, model),
        "last_retraining": "" if last is None else usage_sentence(last.verdict),
    }


def last_evaluated_retraining(connection: Connection, model: str) -> retraining_queue.Retraining | None:
    """The newest retraining of a model that came to a verdict."""
    return next(
        (row for row in retraining_queue.recent(connection) if row.pipeline == model and row.verdict is not None), None
    )


def status_sentences(status: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing there is to say; what matters stands first, where a screen may cut it."""
    said = []
    if status["waiting"]:
        said.append(
            f"{status['waiting']:,} label(s) wait for their prediction since {_format_minute(status['waiting_since'])}"
        )
    if status["given_up"]:
        said.append(
            f"{status['given_up']:,} label(s) were given up in {MAX_WAIT.days} days: their prediction never came"
        )
    if status["not_drawn_for_audit"]:
        said.append(
            f"{status['not_drawn_for_audit']:,} audit label(s) estimate nothing: send such truth as `delayed`, or "
            "label what `platform audit next` gives; nobody had drawn their answers"
        )
    if status["last_retraining"]:
        said.append(f"the last retraining: {status['last_retraining']}")
    return said


def _format_minute(at: datetime | str) -> str:
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{moment:%Y-%m-%d %H:%M} UTC"
