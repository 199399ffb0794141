"""Sends labels that wait to the platform. Each carries its time, so one that is sent twice counts once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import func, select, update

from cheques.amount_reading import ReadingClient, give_label
from cheques.store import Store, labels
from mlplatform.client import ApiRequestError, ClientError

AT_ONCE: Final = 100
FINAL_STATUSES: Final = (404, 422)
FOREIGN_KIND: Final = "unknown"
"""How the client calls an answer that is not of the platform's form, such as a proxy's page."""


def send_labels(store: Store, client: ReadingClient) -> int:
    """Send what waits, the oldest first, until nothing does or the platform gives no answer; returns how many went.

    A label that the platform refuses is kept with its reason, and is not sent again.
    """
    sent = 0
    query = select(labels).where(labels.c.state == "waiting").order_by(labels.c.at).limit(AT_ONCE)
    while True:
        with store.read() as connection:
            waiting = connection.execute(query).all()
        for row in waiting:
            at = datetime.fromisoformat(row.at)
            try:
                result = give_label(client, row.prediction_id, row.label, row.source, row.reviewer, at)
                state, note = "sent", f"{result.outcome} {result.note}".strip()
            except ClientError as error:
                if not _is_final(error):
                    return sent
                state, note = "refused", str(error)[:400]
            with store.write() as connection:
                chosen = labels.c.cheque_id == row.cheque_id
                connection.execute(update(labels).where(chosen).values(state=state, note=note))
            sent += state == "sent"
        if not waiting:
            return sent


def waiting_labels(store: Store) -> int:
    """How many labels were not sent yet."""
    return count_labels(store, "waiting")


def count_labels(store: Store, state: str) -> int:
    """How many labels are in a state: waiting, sent or refused."""
    with store.read() as connection:
        count = connection.scalar(select(func.count()).select_from(labels).where(labels.c.state == state))
    return count or 0


def let_refused_wait(store: Store) -> int:
    """Let those that the platform refused wait again, once the cause is mended; returns how many."""
    with store.write() as connection:
        chosen = update(labels).where(labels.c.state == "refused")
        return connection.execute(chosen.values(state="waiting", note="")).rowcount


def _is_final(error: ClientError) -> bool:
    """Whether an answer is about the label itself; any other is about the connection, such as a wrong key."""
    if not isinstance(error, ApiRequestError) or error.kind == FOREIGN_KIND:
        return False
    return error.status in FINAL_STATUSES
