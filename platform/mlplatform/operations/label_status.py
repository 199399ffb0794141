"""Counts the labels that wait, were given up or estimate nothing, and says so in sentences for people."""

from datetime import datetime

from sqlalchemy import Connection

from mlplatform.feedback import outcomes, pending_labels
from mlplatform.feedback.label_ingestion import expired_label_count
from mlplatform.feedback.pending_labels import MAX_WAIT
from mlplatform.operations.views import LabelStatus
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import usage_sentence


def label_status(connection: Connection, model: str, now: datetime) -> LabelStatus:
    """The numbers, and what became of the labels in the model's last retraining that was judged."""
    last = last_evaluated_retraining(connection, model)
    return LabelStatus(
        waiting=pending_labels.count_pending(connection),
        waiting_since=pending_labels.oldest_received_at(connection),
        given_up=expired_label_count(connection, now),
        not_drawn_for_audit=outcomes.count_unsampled(connection, model),
        last_retraining="" if last is None else usage_sentence(last.verdict),
    )


def last_evaluated_retraining(connection: Connection, model: str) -> retraining_queue.Retraining | None:
    """The newest retraining of a model that came to a verdict."""
    return next(
        (row for row in retraining_queue.recent(connection) if row.pipeline == model and row.verdict is not None), None
    )


def status_sentences(status: LabelStatus) -> list[str]:
    """A sentence for each thing there is to say; what matters stands first, where a screen may cut it."""
    sentences = []
    if status.waiting:
        since = "" if status.waiting_since is None else f" since {status.waiting_since:%Y-%m-%d %H:%M} UTC"
        sentences.append(f"{status.waiting:,} label(s) wait for their prediction{since}")
    if status.given_up:
        sentences.append(
            f"{status.given_up:,} label(s) were given up in {MAX_WAIT.days} days: their prediction never came"
        )
    if status.not_drawn_for_audit:
        sentences.append(
            f"{status.not_drawn_for_audit:,} audit label(s) estimate nothing: send such truth as `delayed`, or "
            "label what `platform audit next` gives; nobody had drawn their answers"
        )
    if status.last_retraining:
        sentences.append(f"the last retraining: {status.last_retraining}")
    return sentences
