"""Stores which versions are in quarantine, as an append-only list of entries; the newest of a version counts.

The list is the truth; a tag in the registry is its projection, and `projected_at` says how far that has got.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from mlplatform.store.tables.promotion import quarantines


@dataclass(frozen=True)
class QuarantineEntry:
    """A version went into quarantine, or came out of it (`lifted`): when, by whom and why."""

    seq: int
    model_name: str
    version: int
    lifted: bool
    at: datetime
    actor: str
    reason: str
    projected_at: datetime | None


def latest_entries(connection: Connection, model_name: str) -> list[QuarantineEntry]:
    """The entry that counts of every version that has any, by version."""
    latest = (
        select(func.max(quarantines.c.seq))
        .where(quarantines.c.model_name == model_name)
        .group_by(quarantines.c.version)
        .scalar_subquery()
    )
    query = select(quarantines).where(quarantines.c.seq.in_(latest)).order_by(quarantines.c.version)
    return [QuarantineEntry(**row._mapping) for row in connection.execute(query)]


def quarantined_versions(connection: Connection, model_name: str) -> dict[int, QuarantineEntry]:
    """The versions that are in quarantine now."""
    return {entry.version: entry for entry in latest_entries(connection, model_name) if not entry.lifted}


def append_entry(
    connection: Connection, model_name: str, version: int, actor: str, reason: str, now: datetime, *, lifted: bool
) -> bool:
    """Put a version into quarantine, or lift that; returns whether it changed anything."""
    if (version in quarantined_versions(connection, model_name)) != lifted:
        return False
    values = {"model_name": model_name, "version": version, "lifted": lifted, "at": now}
    connection.execute(insert(quarantines).values(**values, actor=actor, reason=reason))
    return True


def mark_synced(connection: Connection, entry: QuarantineEntry, now: datetime) -> None:
    """Record that the registry shows this entry, and so no earlier one of the version."""
    connection.execute(
        update(quarantines)
        .where(
            quarantines.c.model_name == entry.model_name,
            quarantines.c.version == entry.version,
            quarantines.c.seq <= entry.seq,
            quarantines.c.projected_at.is_(None),
        )
        .values(projected_at=now)
    )
