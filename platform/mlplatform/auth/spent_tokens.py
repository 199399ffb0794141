"""Signed tokens that are good no more before they expire: sign-ins that were completed, sessions that were ended."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from mlplatform.store.database import insert_new
from mlplatform.store.tables.auth import spent_tokens


def spend(connection: Connection, token_id: str, expires_at: datetime, now: datetime) -> bool:
    """Let a token be good no more; False where it was spent before. Forgets those that have expired."""
    expired = select(spent_tokens.c.id).where(spent_tokens.c.expires_at < now)
    expired = expired.with_for_update(skip_locked=True)  # others remove them as well: nobody waits for anybody
    connection.execute(delete(spent_tokens).where(spent_tokens.c.id.in_(expired)))
    return insert_new(connection, spent_tokens, [{"id": token_id, "expires_at": expires_at}]) == 1


def list_spent(connection: Connection, now: datetime) -> frozenset[str]:
    """The ids of tokens that would be good if they were not spent."""
    return frozenset(connection.scalars(select(spent_tokens.c.id).where(spent_tokens.c.expires_at >= now)))
