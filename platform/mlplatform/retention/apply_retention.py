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
from mlplatform.context import Parts
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.predictions import erased_predictions, shadow_predictions
from mlplatform.promotion import promotion_history
from mlplatform.recording.spool.directory import look
from mlplatform.recording.spool.quarantined_rows import Asides
from mlplatform.retention import erasure
from mlplatform.retention.erasure import Erased, FirstOf
from mlplatform.store.timeouts import unhurried
from monitors.decisions.drift import FIRST_ANSWERS

TRIES: Final = 5
REST_SECONDS: Final = 0.5
"""The longest rest between two portions: others write meanwhile for as long as a portion took, and no longer."""
Prove = Callable[[Connection], object]


@dataclass(frozen=True)
class Pace:
    """How a removal goes on: portion after portion while `goes_on` says so, with a rest after each."""

    goes_on: Callable[[], bool] = lambda: True
    rest: Callable[[float], object] = time.sleep
    now: Callable[[], float] = time.monotonic
    portion: int = erasure.PORTION

    def rest_after(self, begun: float) -> None:
        """Rest after a portion that was begun then."""
        self.rest(min(REST_SECONDS, max(0.0, self.now() - begun)))


@unhurried()
def retain(parts: Parts, actor: str, prove: Prove = lambda _: None, pace: Pace | None = None) -> dict[str, int]:
    """Remove what of this model is older than the settings keep; returns how many answers, pictures and names went.

    All of it goes, in portions, each in a transaction of its own. `prove` is called in each, so that a watcher that no
    longer leads removes nothing.
    """
    settings, now, pace = parts.settings, parts.clock(), pace or Pace()
    gone, blotted = Erased(), 0
    if settings.retain_answers_days:
        gone = _remove_old(parts, actor, now - timedelta(days=settings.retain_answers_days), prove, pace)
    if settings.retain_personal_days:
        blotted = _blot_old(parts, now - timedelta(days=settings.retain_personal_days), prove, pace)
    done = {"answers": gone.answers, "pictures": gone.pictures, "blotted": blotted}
    if any(done.values()):
        with parts.database.write() as connection:
            prove(connection)
            erased_predictions.forget(connection, now)
            audit_entries.note(connection, actor, "retention", "predictions", now, done)
    return done


@unhurried()
def forget_client(parts: Parts, client: str, actor: str) -> dict[str, Any]:
    """Remove every answer given to a client, with labels and pictures; raises InvalidInputError for an empty id.

    Rows that still wait in spools on this disk may be theirs too, and are counted: erase again when they are recorded.
    """
    if not client:
        raise InvalidInputError("an empty client id is everybody who gave none; name one with --client")
    gone, now = Erased(), parts.clock()

    def tell(connection: Connection, ids: list[str]) -> None:
        audit_entries.erased(connection, actor, now, ids=ids)

    while part := _erase_next(parts, lambda connection: erasure.of_client(connection, client), tell):
        gone += part
    folder = parts.settings.spool_folder
    waiting = sum(seen.rows for seen in look(folder)) + sum(each.rows for each in Asides(folder).listed())
    with parts.database.write() as connection:
        subject = f"client/{sha256(client.encode()).hexdigest()[:16]}"
        audit_entries.note(connection, actor, "erase-client", subject, now, vars(gone))
    return {**vars(gone), "waiting_in_spools": waiting}


def plan(parts: Parts) -> dict[str, Any]:
    """What the settings keep, and the moments before which things go; None for what is kept for ever."""
    now, settings = parts.clock(), parts.settings
    days = {"answers": settings.retain_answers_days, "personal": settings.retain_personal_days}
    return {name: {"days": n or None, "before": now - timedelta(days=n) if n else None} for name, n in days.items()}


def _remove_old(parts: Parts, actor: str, before: datetime, prove: Prove, pace: Pace) -> Erased:
    """Remove answers given before a moment, and say so in the audit log with each portion."""
    name, gone, reached, last = parts.family.name, Erased(), "", ""

    def old(connection: Connection) -> list[str]:
        prove(connection)
        champion = promotion_history.latest(connection, name)
        first = None if champion is None else FirstOf(champion.model_name, champion.to_version, FIRST_ANSWERS)
        return erasure.unlabelled(connection, name, before, first, reached, pace.portion)

    def tell(connection: Connection, ids: list[str]) -> None:
        nonlocal last
        last = ids[-1]
        audit_entries.erased(connection, actor, parts.clock(), before=before, answers=len(ids))

    while pace.goes_on():
        begun = pace.now()
        part = _erase_next(parts, old, tell)
        if part is None:
            break
        gone, reached = gone + part, last
        pace.rest_after(begun)
    with parts.database.write() as connection:
        prove(connection)
        shadow_predictions.forget(connection, before, name)
    return gone


def _erase_next(
    parts: Parts, pick: Callable[[Connection], list[str]], tell: Callable[[Connection, list[str]], object]
) -> Erased | None:
    """Erase what is picked and tell of it, in one transaction; None where nothing was."""
    for _ in range(TRIES):
        try:
            with parts.database.write() as connection:
                ids = pick(connection)
                if not ids:
                    return None
                tell(connection, ids)
                return erasure.erase(connection, ids, parts.clock())
        except IntegrityError:
            continue  # somebody labelled one of the answers, or sent one of the pictures, at the same moment
    raise ConflictError("answers that are to be erased are labelled at the same time, again and again; try again")


def _blot_old(parts: Parts, before: datetime, prove: Prove, pace: Pace) -> int:
    blotted, reached = 0, ""
    while pace.goes_on():
        begun = pace.now()
        with parts.database.write() as connection:
            prove(connection)
            part = erasure.blot(connection, parts.family.name, before, reached, pace.portion)
        if not part:
            break
        blotted, reached = blotted + len(part), part[-1]
        pace.rest_after(begun)
    return blotted
