"""Takes versions of retrainings that were cancelled or abandoned out of the registry.

A training asks before it registers, and again when the alias is written, because the registry is another system: what
was closed between the two is taken back here, by the training itself, or by the leading watcher where that was killed.
"""

import logging
from contextlib import suppress
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select, update

from mlplatform.audit import audit_entries
from mlplatform.promotion import promotion_history, quarantines, rollouts
from mlplatform.retraining.retraining_queue import OPEN_STATES, Retraining
from mlplatform.store.database import Database
from mlplatform.store.tables.retraining import retrainings
from registry.catalog import CHALLENGER, PREVIOUS_CHALLENGER_TAG, Catalog, RegisteredVersion
from registry.errors import UnknownVersionError

log = logging.getLogger(__name__)
RETRAINING_TAG: Final = "mlplatform.retraining"


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
    """Record that a closed run has left nothing in the registry: nobody owns it any more."""
    ended = (retrainings.c.id == retraining_id) & retrainings.c.state.not_in(OPEN_STATES)
    connection.execute(update(retrainings).where(ended).values(owner=None))


def withdraw_versions(database: Database, catalog: Catalog, row: Retraining, actor: str, now: datetime) -> list[int]:
    """Delete what a retraining that was cancelled or abandoned has registered; returns the versions.

    One that serves, served or is tried stays. The alias `challenger` goes back to the version it was taken from.
    """
    name, deleted = row.pipeline, []
    for version in catalog.versions(name):
        if version.tags.get(RETRAINING_TAG) != row.id:
            continue
        with database.read() as connection:
            if _is_used(connection, version):
                continue
        with suppress(UnknownVersionError):  # another process was faster
            _restore_challenger_alias(database, catalog, version)
            catalog.delete_version(name, version.version)
            deleted.append(version.version)
    if deleted:
        with database.write() as connection:
            details = {"versions": deleted, "state": row.state}
            audit_entries.append(connection, actor, "withdraw", f"retraining/{row.id}", now, details)
        log.warning("retraining %s was %s: its version %s is taken back", row.id, row.state, deleted)
    return deleted


def _is_used(connection: Connection, version: RegisteredVersion) -> bool:
    rollout = rollouts.latest_rollout(connection, version.name)
    history = promotion_history.promotion_history(connection, version.name, limit=10_000)
    has_served = any(promotion.to_version == version.version for promotion in history)
    return has_served or (rollout is not None and rollout.version == version.version)


def _restore_challenger_alias(database: Database, catalog: Catalog, version: RegisteredVersion) -> None:
    name = version.name
    if catalog.alias(name, CHALLENGER) != version.version:
        return
    previous = version.tags.get(PREVIOUS_CHALLENGER_TAG, "")
    registered = {other.version for other in catalog.versions(name)}
    with database.read() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        quarantined = quarantines.quarantined_versions(connection, name)
    serving = None if champion is None else champion.to_version
    if previous.isdecimal() and int(previous) in registered - quarantined.keys() - {serving}:
        catalog.set_alias(name, CHALLENGER, int(previous))
    else:
        catalog.delete_alias(name, CHALLENGER)
