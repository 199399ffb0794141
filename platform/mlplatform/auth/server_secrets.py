"""Secrets that every process on one database shares, each made by the first that needs it."""

import secrets
from datetime import datetime

from sqlalchemy import select

from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database, insert_new
from mlplatform.store.tables.auth import server_secrets

SECRET_BYTES = 32


def load_secret(database: Database, name: str, now: datetime) -> bytes:
    """The secret of this name; two that make it at once get the same one. Raises StoreUnavailableError."""
    query = select(server_secrets.c.value).where(server_secrets.c.name == name)
    with database.read() as connection:
        value = connection.scalar(query)
    if value is None:
        with database.write() as connection:
            insert_new(
                connection, server_secrets, [{"name": name, "value": secrets.token_hex(SECRET_BYTES), "at": now}]
            )
            value = connection.scalar(query)
    if value is None or len(value) != 2 * SECRET_BYTES:  # nothing is ever signed with less
        raise StoreUnavailableError(
            f"the secret {name!r} cannot be read: somebody has just removed it, or the row of that name in "
            "server_secrets is damaged; try again, and remove the row if it stays so"
        )
    return bytes.fromhex(value)
