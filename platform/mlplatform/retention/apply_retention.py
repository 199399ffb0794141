"""How long answers are kept, and what is erased when somebody asks to be forgotten; it removes through the store.

Answers that nobody labelled go whole, with their pictures. Labelled ones stay: training and the gate's evidence rest on
them; only who asked is blotted out. Counts stay. What is done is one entry in the audit log, which names no client.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.predictions import erased_predictions, shadow_predictions
from mlplatform.promotion import promotion_history
from mlplatform.recording.spool.directory import inspect_spools
from mlplatform.recording.spool.quarantined_rows import RowQuarantine
from mlplatform.retention import erasure
from mlplatform.retention.erasure import ErasureResult, ReferenceSampleOf
from mlplatform.store.timeouts import long_statements
from monitors.decisions.drift import REFERENCE_PREDICTIONS

MAX_TRIES: Final = 5
MAX_PAUSE_SECONDS: Final = 0.5
"""The longest rest between two portions: others write meanwhile for as long as a portion took, and no longer."""
VerifyLease = Callable[[Connection], object]


@dataclass(frozen=True)
class ErasureThrottle:
    """How a removal goes on: portion after portion while `goes_on` says so, with a rest after each."""

    should_continue: Callable[[], bool] = lambda: True
    sleep: Callable[[float], object] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    batch_size: int = erasure.BATCH_SIZE

    def pause_after(self, begun: float) -> None:
        """Rest after a portion that was begun then."""
        self.sleep(min(MAX_PAUSE_SECONDS, max(0.0, self.monotonic() - begun)))


@long_statements()
def apply_retention(
    context: AppContext, actor: str, verify_lease: VerifyLease = lambda _: None, throttle: ErasureThrottle | None = None
) -> dict[str, int]:
    """Remove what of this model is older than the settings keep; returns how many answers, pictures and names went.

    All of it goes, in portions, each in a transaction of its own. `prove` is called in each, so that a watcher that no
    longer leads removes nothing.
    """
    settings, now, throttle = context.settings, context.clock(), throttle or ErasureThrottle()
    gone, blotted = ErasureResult(), 0
    if settings.retain_answers_days:
        gone = _remove_old(context, actor, now - timedelta(days=settings.retain_answers_days), verify_lease, throttle)
    if settings.retain_personal_days:
        blotted = _anonymise_old(context, now - timedelta(days=settings.retain_personal_days), verify_lease, throttle)
    done = {"answers": gone.answers, "pictures": gone.pictures, "blotted": blotted}
    if any(done.values()):
        with context.database.write() as connection:
            verify_lease(connection)
            erased_predictions.delete_expired(connection, now)
            audit_entries.append(connection, actor, "retention", "predictions", now, done)
    return done


@long_statements()
def erase_client(context: AppContext, client: str, actor: str) -> dict[str, Any]:
    """Remove every answer given to a client, with labels and pictures; raises InvalidInputError for an empty id.

    Rows that still wait in spools on this disk may be theirs too, and are counted: erase again when they are recorded.
    """
    if not client:
        raise InvalidInputError("an empty client id is everybody who gave none; name one with --client")
    gone, now = ErasureResult(), context.clock()

    def tell(connection: Connection, ids: list[str]) -> None:
        audit_entries.record_erasure(connection, actor, now, ids=ids)

    while part := _erase_batch(context, lambda connection: erasure.client_prediction_ids(connection, client), tell):
        gone += part
    folder = context.settings.spool_folder
    waiting = sum(seen.rows for seen in inspect_spools(folder)) + sum(
        each.rows for each in RowQuarantine(folder).list_files()
    )
    with context.database.write() as connection:
        subject = f"client/{sha256(client.encode()).hexdigest()[:16]}"
        audit_entries.append(connection, actor, "erase-client", subject, now, vars(gone))
    return {**vars(gone), "waiting_in_spools": waiting}


def retention_policy(context: AppContext) -> dict[str, Any]:
    """What the settings keep, and the moments before which things go; None for what is kept for ever."""
    now, settings = context.clock(), context.settings
    days = {"answers": settings.retain_answers_days, "personal": settings.retain_personal_days}
    return {name: {"days": n or None, "before": now - timedelta(days=n) if n else None} for name, n in days.items()}


def _remove_old(
    context: AppContext, actor: str, before: datetime, verify_lease: VerifyLease, throttle: ErasureThrottle
) -> ErasureResult:
    """Remove answers given before a moment, and say so in the audit log with each portion."""
    name, gone, reached, last = context.pipeline.name, ErasureResult(), "", ""

    def old(connection: Connection) -> list[str]:
        verify_lease(connection)
        champion = promotion_history.latest_promotion(connection, name)
        first = (
            None
            if champion is None
            else ReferenceSampleOf(champion.model_name, champion.to_version, REFERENCE_PREDICTIONS)
        )
        return erasure.old_unlabelled_ids(connection, name, before, first, reached, throttle.batch_size)

    def tell(connection: Connection, ids: list[str]) -> None:
        nonlocal last
        last = ids[-1]
        audit_entries.record_erasure(connection, actor, context.clock(), before=before, prediction_count=len(ids))

    while throttle.should_continue():
        begun = throttle.monotonic()
        part = _erase_batch(context, old, tell)
        if part is None:
            break
        gone, reached = gone + part, last
        throttle.pause_after(begun)
    with context.database.write() as connection:
        verify_lease(connection)
        shadow_predictions.delete_before(connection, before, name)
    return gone


def _erase_batch(
    context: AppContext,
    select_ids: Callable[[Connection], list[str]],
    record: Callable[[Connection, list[str]], object],
) -> ErasureResult | None:
    """Erase what is picked and tell of it, in one transaction; None where nothing was."""
    for _ in range(MAX_TRIES):
        try:
            with context.database.write() as connection:
                ids = select_ids(connection)
                if not ids:
                    return None
                record(connection, ids)
                return erasure.erase(connection, ids, context.clock())
        except IntegrityError:
            continue  # somebody labelled one of the answers, or sent one of the pictures, at the same moment
    raise ConflictError("answers that are to be erased are labelled at the same time, again and again; try again")


def _anonymise_old(context: AppContext, before: datetime, verify_lease: VerifyLease, throttle: ErasureThrottle) -> int:
    blotted, reached = 0, ""
    while throttle.should_continue():
        begun = throttle.monotonic()
        with context.database.write() as connection:
            verify_lease(connection)
            part = erasure.anonymise(connection, context.pipeline.name, before, reached, throttle.batch_size)
        if not part:
            break
        blotted, reached = blotted + len(part), part[-1]
        throttle.pause_after(begun)
    return blotted
