"""Versions of retrainings that were closed before their end, taken out of the registry; it closes no retraining.

A training asks before it registers, and again when the alias is written, because the registry is another system: what
was closed between the two is taken back here, by the training itself, or by the leading watcher where that was killed.
"""

import logging
from contextlib import suppress
from typing import Final

from sqlalchemy import Connection

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.promotion import promotion_history, quarantines, rollouts
from mlplatform.retraining import retraining_queue
from registry.catalog import CHALLENGER, PREVIOUS_CHALLENGER_TAG, RegisteredVersion
from registry.errors import UnknownVersionError

log = logging.getLogger(__name__)
RETRAINING_TAG: Final = "mlplatform.retraining"


def withdraw_versions(context: AppContext, row: retraining_queue.Retraining, actor: str) -> list[int]:
    """Take back what a retraining that was cancelled or abandoned has registered; returns the versions.

    One that serves, served or is tried stays. The alias `challenger` goes back to the version it was taken from.
    """
    name, gone = row.pipeline, []
    for version in context.catalog.versions(name):
        if version.tags.get(RETRAINING_TAG) != row.id:
            continue
        with context.database.read() as connection:
            if _is_used(connection, version):
                continue
        with suppress(UnknownVersionError):  # another process was faster
            _restore_challenger_alias(context, version)
            context.catalog.delete_version(name, version.version)
            gone.append(version.version)
    if gone:
        with context.database.write() as connection:
            details = {"versions": gone, "state": row.state}
            audit_entries.append(connection, actor, "withdraw", f"retraining/{row.id}", context.clock(), details)
        log.warning("retraining %s was %s: its version %s is taken back", row.id, row.state, gone)
    return gone


def _is_used(connection: Connection, version: RegisteredVersion) -> bool:
    tried = rollouts.latest_rollout(connection, version.name)
    served = {each.to_version for each in promotion_history.promotion_history(connection, version.name, limit=10_000)}
    return version.version in served or (tried is not None and tried.version == version.version)


def _restore_challenger_alias(context: AppContext, version: RegisteredVersion) -> None:
    name = version.name
    if context.catalog.alias(name, CHALLENGER) != version.version:
        return
    before = version.tags.get(PREVIOUS_CHALLENGER_TAG, "")
    known = {each.version for each in context.catalog.versions(name)}
    with context.database.read() as connection:
        champion, barred = (
            promotion_history.latest_promotion(connection, name),
            quarantines.quarantined_versions(connection, name),
        )
    serves = None if champion is None else champion.to_version
    if before.isdecimal() and int(before) in known - barred.keys() - {serves}:
        context.catalog.set_alias(name, CHALLENGER, int(before))
    else:
        context.catalog.delete_alias(name, CHALLENGER)
