"""Predictions that servers forgot or refused, told to people once per tenfold; it records nothing and mends nothing."""

from sqlalchemy import Connection

from mlplatform.build import Parts
from mlplatform.notices import post_alone
from mlplatform.store import leases
from mlplatform.views import ALIVE
from monitors.loss import Loss


def post_losses(connection: Connection, parts: Parts) -> int:
    """Put a notice into the outbox for each living server that lost predictions; returns how many are new.

    Servers say in their heartbeats what they lost since they started. Who hears of the accuracy hears of this.
    """
    now, posted = parts.clock(), 0
    for beat in leases.alive(connection, now - ALIVE):
        told = beat.details.get("recorder") or {}
        dropped, refused = int(told.get("dropped", 0)), int(told.get("refused", 0))
        if beat.component != "api" or not dropped + refused:
            continue
        base = parts.settings.public_url.rstrip("/")
        loss = Loss(
            model=parts.family.name,
            instance=beat.instance,
            dropped=dropped,
            refused=refused,
            at=now,
            links={"Dashboard": f"{base}/"} if base else {},
            idempotency_key=f"recording-lost-{beat.instance}-{_size(dropped)}-{_size(refused)}",
        )
        posted += post_alone(connection, parts, loss, now)
    return posted


def _size(count: int) -> int:
    """How many digits the count has: another notice is due when it gets one more."""
    return len(str(count)) if count else 0
