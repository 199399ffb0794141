"""Sends labels that wait to the platform. Each carries its time, so one that is sent twice counts once."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import func, select, update

from cheques.amount_reading import ReadingClient, give_label
from cheques.store import Store, labels
from mlplatform.client import ApiRequestError, ClientError

AT_ONCE: Final = 100
FINAL_STATUSES: Final = (404, 409, 422)
"""Answers about the label itself; any other, such as of a wrong key, is about the connection and may pass."""


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
                if not isinstance(error, ApiRequestError) or error.status not in FINAL_STATUSES:
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
    with store.read() as connection:
        count = connection.scalar(select(func.count()).select_from(labels).where(labels.c.state == "waiting"))
    return count or 0
