"""Proof that a running retraining is still owned by whoever promotes its candidate."""

from sqlalchemy import Connection, select

from mlplatform.errors import FencedError
from mlplatform.store.tables.core import retrainings


def require_running(connection: Connection, retraining_id: str, owner: str) -> None:
    """Raise FencedError unless the retraining is still running under this owner; locks it until commit."""
    row = connection.execute(
        select(retrainings.c.id)
        .where(
            retrainings.c.id == retraining_id,
            retrainings.c.owner == owner,
            retrainings.c.state == "running",
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise FencedError(f"retraining {retraining_id} is no longer run by {owner}; it must not write")
