"""Notifies people of predictions that are not in the database, and again when there are ten times as many."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from mlplatform.alerting.links import dashboard_links
from mlplatform.alerting.notifications import enqueue_notice
from mlplatform.context import AppContext
from mlplatform.store import leases
from mlplatform.store.database import database_file
from mlplatform.store.file_identity import read_replacements
from mlplatform.store.leadership import ALIVE_PERIOD
from mlplatform.store.leases import Heartbeat
from monitors.notices.lost_predictions_notice import RecordingLossNotice

REPLACEMENT_PERIOD: Final = timedelta(days=1)


def notify_recording_loss(connection: Connection, context: AppContext) -> int:
    """Enqueue notices of what the model's servers lost, refused or quarantined; returns how many are new.

    Servers say in their heartbeats what they lost since they started, and what lies quarantined on their disk, whoever
    put it there. Who hears of the accuracy hears of this.
    """
    now = context.clock()
    return sum(enqueue_notice(connection, context, loss, now) for loss in _find_losses(connection, context, now))


def _find_losses(connection: Connection, context: AppContext, now: datetime) -> Iterator[RecordingLossNotice]:
    for beat in leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD):
        recorder_counts = beat.details.get("recorder") or {}
        if beat.component == "api" and beat.is_about(context.model_name):
            yield from _server_losses(context, beat, recorder_counts, now)
    if (path := database_file(context.settings.store_url)) is not None:
        for replacement in read_replacements(path, now - REPLACEMENT_PERIOD):
            if not replacement.back:
                key = f"database-replaced-{'-'.join(map(str, replacement.was))}"
                yield _build_loss(context, now, f"process {replacement.pid}", key, replaced=replacement.file)


def _server_losses(
    context: AppContext, beat: Heartbeat, recorder_counts: dict[str, Any], now: datetime
) -> Iterator[RecordingLossNotice]:
    dropped, refused, aside = (int(recorder_counts.get(name, 0)) for name in ("dropped", "refused", "set_aside"))
    if dropped + refused:
        key = f"recording-lost-{beat.instance}-{_digit_count(dropped)}-{_digit_count(refused)}"
        yield _build_loss(context, now, beat.instance, key, dropped=dropped, refused=refused)
    if aside:
        host = beat.instance.partition(":")[0]  # what lies aside is one disk's, not one server's
        key = f"recording-aside-{host}-{recorder_counts.get('aside_since', '')}-{_digit_count(aside)}"
        yield _build_loss(context, now, beat.instance, key, set_aside=aside)


def _build_loss(
    context: AppContext,
    now: datetime,
    instance: str,
    key: str,
    *,
    dropped: int = 0,
    refused: int = 0,
    set_aside: int = 0,
    replaced: str = "",
) -> RecordingLossNotice:
    return RecordingLossNotice(
        model=context.model_name,
        instance=instance,
        dropped=dropped,
        refused=refused,
        at=now,
        links=dashboard_links(context.settings.public_url),
        idempotency_key=key,
        set_aside=set_aside,
        replaced=replaced,
    )


def _digit_count(count: int) -> int:
    """How many digits the count has: another notice is due when it gets one more."""
    return len(str(count)) if count else 0
