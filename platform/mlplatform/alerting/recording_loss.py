"""Predictions that are not in the database, told to people once per tenfold; it records nothing and mends nothing."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from mlplatform.alerting.notifications import post_alone
from mlplatform.context import Parts
from mlplatform.store import leases
from mlplatform.store.database import file_of
from mlplatform.store.file_identity import replacements
from mlplatform.store.leadership import ALIVE
from mlplatform.store.leases import Heartbeat
from monitors.notices.lost_predictions_notice import Loss

RECENT: Final = timedelta(days=1)


def post_losses(connection: Connection, parts: Parts) -> int:
    """Put notices of what the model's servers lost, refused or set aside into the outbox; returns how many are new.

    Servers say in their heartbeats what they lost since they started, and what lies aside on their disk, whoever put it
    there. Each is told of once, and again when there is ten times as much. Who hears of the accuracy hears of this.
    """
    now = parts.clock()
    return sum(post_alone(connection, parts, loss, now) for loss in _losses(connection, parts, now))


def _losses(connection: Connection, parts: Parts, now: datetime) -> Iterator[Loss]:
    for beat in leases.alive(connection, now - ALIVE, now + ALIVE):
        told = beat.details.get("recorder") or {}
        if beat.component == "api" and beat.is_about(parts.family.name):
            yield from _of_server(parts, beat, told, now)
    if (path := file_of(parts.settings.store_url)) is not None:
        for found in replacements(path, now - RECENT):
            if not found.back:
                key = "-".join(map(str, found.was))
                yield _loss(parts, now, f"process {found.pid}", f"database-replaced-{key}", replaced=found.file)


def _of_server(parts: Parts, beat: Heartbeat, told: dict[str, Any], now: datetime) -> Iterator[Loss]:
    dropped, refused, aside = (int(told.get(name, 0)) for name in ("dropped", "refused", "set_aside"))
    if dropped + refused:
        key = f"recording-lost-{beat.instance}-{_size(dropped)}-{_size(refused)}"
        yield _loss(parts, now, beat.instance, key, dropped=dropped, refused=refused)
    if aside:
        host = beat.instance.partition(":")[0]  # what lies aside is one disk's, not one server's
        key = f"recording-aside-{host}-{told.get('aside_since', '')}-{_size(aside)}"
        yield _loss(parts, now, beat.instance, key, set_aside=aside)


def _loss(
    parts: Parts,
    now: datetime,
    instance: str,
    key: str,
    *,
    dropped: int = 0,
    refused: int = 0,
    set_aside: int = 0,
    replaced: str = "",
) -> Loss:
    base = parts.settings.public_url.rstrip("/")
    return Loss(
        model=parts.family.name,
        instance=instance,
        dropped=dropped,
        refused=refused,
        at=now,
        links={"Dashboard": f"{base}/"} if base else {},
        idempotency_key=key,
        set_aside=set_aside,
        replaced=replaced,
    )


def _size(count: int) -> int:
    """How many digits the count has: another notice is due when it gets one more."""
    return len(str(count)) if count else 0
