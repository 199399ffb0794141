"""Leases with fencing tokens, and heartbeats: which process may act, and which ones are alive.

The fence grows by one whenever a lease changes hands (Kleppmann, "How to do distributed locking", 2016). A holder
proves its lease *inside* the transaction of its write with `prove`: paused past its lease, it can no longer write.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, update

from mlplatform.clock import EPOCH
from mlplatform.errors import FencedError
from mlplatform.store.database import insert_new
from mlplatform.store.tables.coordination import heartbeats, leases

HEARTBEAT_RETENTION = timedelta(days=1)


@dataclass(frozen=True)
class Lease:
    """A held lease: who holds it, with which fencing token."""

    name: str
    holder: str
    fence: int


def acquire(connection: Connection, name: str, holder: str, duration: timedelta, now: datetime) -> Lease | None:
    """Take the lease if it is free or expired, with a new fence; None while another holds it.

    One that would last longer than a life from now was written by a clock that is ahead, or before the clock was set
    back: it is shortened, so that it is free a life from now unless its holder renews it.
    """
    insert_new(connection, leases, [{"name": name, "holder": "", "fence": 0, "expires_at": now}])
    taken = connection.execute(
        update(leases)
        .where(leases.c.name == name, leases.c.expires_at <= now)
        .values(holder=holder, fence=leases.c.fence + 1, expires_at=now + duration)
        .returning(leases.c.fence)
    ).scalar_one_or_none()
    if taken is not None:
        return Lease(name, holder, taken)
    too_long = (leases.c.name == name) & (leases.c.expires_at > now + duration)
    connection.execute(update(leases).where(too_long).values(expires_at=now + duration))
    return None


def renew(connection: Connection, lease: Lease, duration: timedelta, now: datetime) -> bool:
    """Lengthen a lease that is still ours; False when another took it."""
    renewed = connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.fence == lease.fence)
        .values(expires_at=now + duration)
    )
    return renewed.rowcount == 1


def release(connection: Connection, lease: Lease) -> None:
    """Give the lease back, free at once on every clock; without effect when another took it."""
    renew(connection, lease, timedelta(0), EPOCH)


def lock_lease(connection: Connection, name: str) -> Lease | None:
    """The lease as it stands, expired or not, once no other transaction has a hand on it; held until ours ends."""
    row = connection.execute(
        select(leases.c.fence, leases.c.holder).where(leases.c.name == name).with_for_update()
    ).one_or_none()
    return None if row is None else Lease(name, row.holder, row.fence)


def lock_name(connection: Connection, name: str, now: datetime) -> None:
    """Keep out who acts under the lease of this name until our transaction ends, even if nobody ever had it."""
    insert_new(connection, leases, [{"name": name, "holder": "", "fence": 0, "expires_at": now}])
    lock_lease(connection, name)


def require_lease(connection: Connection, lease: Lease) -> None:
    """Raise FencedError unless the lease is still ours; holds it until the transaction ends."""
    if lock_lease(connection, lease.name) != lease:
        raise FencedError(f"lease {lease.name!r} passed from {lease.holder} on; its writes are refused")


def current_holder(connection: Connection, name: str, now: datetime) -> str | None:
    """Who holds the lease now, if anyone."""
    return connection.scalar(select(leases.c.holder).where(leases.c.name == name, leases.c.expires_at > now))


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life of one process."""

    component: str
    instance: str
    at: datetime
    details: dict[str, Any]

    def is_about(self, model_name: str) -> bool:
        """Whether the process works for that model; one that does not say may."""
        return bool(self.details.get("model", model_name) == model_name)


def record_heartbeat(
    connection: Connection, component: str, instance: str, now: datetime, details: Mapping[str, Any]
) -> None:
    """Write a sign of life, one row per process; rows of processes silent for a day are removed."""
    connection.execute(delete(heartbeats).where(heartbeats.c.at < now - HEARTBEAT_RETENTION))
    key = (heartbeats.c.component == component) & (heartbeats.c.instance == instance)
    values: dict[str, Any] = {"at": now, "details": dict(details)}
    if not insert_new(connection, heartbeats, [{"component": component, "instance": instance, **values}]):
        connection.execute(update(heartbeats).where(key).values(values))


def recent_heartbeats(connection: Connection, since: datetime, until: datetime | None = None) -> list[Heartbeat]:
    """The processes that gave a sign of life since then.

    One later than `until` was given by another clock, or before this one was set back, and proves nothing now.
    """
    query = select(heartbeats).where(heartbeats.c.at >= since).order_by(heartbeats.c.component)
    if until is not None:
        query = query.where(heartbeats.c.at <= until)
    return [Heartbeat(**row._mapping) for row in connection.execute(query)]
