"""Retrainings closed before their end that may have left something in the registry; it looks into no registry."""

from datetime import datetime

from sqlalchemy import Connection, select, update

from mlplatform.retraining.retraining_queue import OPEN_STATES, Retraining
from mlplatform.store.tables.core import retrainings


def interrupted_retrainings(connection: Connection, pipeline: str, since: datetime) -> list[Retraining]:
    """Runs of a pipeline that were cancelled or abandoned since a moment, and may have registered a version before."""
    query = select(retrainings).where(
        retrainings.c.pipeline == pipeline,
        retrainings.c.state.in_(("cancelled", "abandoned")),
        retrainings.c.finished_at >= since,
        retrainings.c.owner.is_not(None),
        retrainings.c.run_id.is_not(None),
    )
    return [Retraining(**row._mapping) for row in connection.execute(query)]


def clear_owner(connection: Connection, retraining_id: str) -> None:
    """Note that a closed run has left nothing in the registry: nobody owns it any more."""
    closed = (retrainings.c.id == retraining_id) & retrainings.c.state.not_in(OPEN_STATES)
    connection.execute(update(retrainings).where(closed).values(owner=None))
