"""Applies the retention settings, and erases what a client or subject asked to be forgotten.

Predictions that nobody labelled are removed whole, with their inputs. Labelled ones stay, because training and the
gate's evidence rest on them; only who asked, and whom it is about, is removed from them. Counts stay. What is done is
one entry in the audit log, which names nobody.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mlplatform.alerting import outbox
from mlplatform.audit import audit_entries
from mlplatform.auth.server_secrets import load_secret
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.monitoring.reference_inputs import reference_prediction_ids
from mlplatform.predictions import column_counts, prediction_records, shadow_predictions
from mlplatform.promotion import promotion_history
from mlplatform.recording.spool.directory import inspect_spools
from mlplatform.recording.spool.quarantined_rows import RowQuarantine
from mlplatform.retention import erasure
from mlplatform.retention.erasure import ErasureResult, Owner
from mlplatform.store.timeouts import long_statements
from monitors.rules.metric_catalog import DataNeed
from monitors.rules.rule import DEFAULT_REFERENCE

MAX_TRIES: Final = 5
MAX_PAUSE_SECONDS: Final = 0.5
"""The longest pause between two batches: others write meanwhile for as long as a batch took, and no longer."""
ERASURE_KEY: Final = "erased-persons"
"""The secret by which the audit log names whom it erased: without the database nobody finds them in a list of names."""
VerifyLease = Callable[[Connection], object]
"""Raises where the caller is no longer allowed to remove anything."""


@dataclass(frozen=True)
class RetentionResult:
    """How many predictions and inputs were removed, from how many predictions who asked was, and counts of columns."""

    answers: int
    pictures: int
    blotted: int
    column_counts: int = 0


@dataclass(frozen=True)
class PersonErasure(ErasureResult):
    """What erasing a client or subject removed. Rows that wait in spools on this disk may be theirs too."""

    waiting_in_spools: int = 0


@dataclass(frozen=True)
class RetentionPeriod:
    """How many days something is kept, and the moment before which it is removed; None for what is kept for ever."""

    days: int | None
    before: datetime | None


@dataclass(frozen=True)
class RetentionPolicy:
    """How long unlabelled predictions are kept, who asked, and hourly counts of a table's columns."""

    answers: RetentionPeriod
    personal: RetentionPeriod
    column_counts: RetentionPeriod


@dataclass(frozen=True)
class ErasureThrottle:
    """Paces a removal: batch after batch while `should_continue` says so, with a pause after each."""

    should_continue: Callable[[], bool] = lambda: True
    sleep: Callable[[float], object] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    batch_size: int = erasure.BATCH_SIZE

    def pause_after(self, started: float) -> None:
        """Pause after a batch that was started then, on the clock of `monotonic`."""
        self.sleep(min(MAX_PAUSE_SECONDS, max(0.0, self.monotonic() - started)))


@long_statements()
def apply_retention(
    context: AppContext, actor: str, verify_lease: VerifyLease = lambda _: None, throttle: ErasureThrottle | None = None
) -> RetentionResult:
    """Remove what of this model is older than the settings keep.

    All of it is removed, in batches, each in a transaction of its own. `verify_lease` is called in each, so that a
    watcher that no longer leads removes nothing.
    """
    settings, now, throttle = context.settings, context.clock(), throttle or ErasureThrottle()

    # 1. Whole predictions, and who asked for those that stay.
    removed, anonymised = ErasureResult(), 0
    if settings.retain_answers_days:
        before = now - timedelta(days=settings.retain_answers_days)
        removed = _remove_old(context, actor, before, verify_lease, throttle)
    if settings.retain_personal_days:
        before = now - timedelta(days=settings.retain_personal_days)
        anonymised = _anonymise_old(context, before, verify_lease, throttle)

    counts = 0
    if settings.retain_column_counts_days:
        counts = _remove_column_counts(context, now - timedelta(days=settings.retain_column_counts_days), verify_lease)

    # 2. One entry in the audit log for all of it.
    result = RetentionResult(removed.answers, removed.pictures, anonymised, counts)
    if result != RetentionResult(0, 0, 0):
        with context.database.write() as connection:
            verify_lease(connection)
            prediction_records.delete_expired(connection, now)
            audit_entries.append(connection, actor, "retention", "predictions", now, asdict(result))
    return result


def erase_client(context: AppContext, client: str, actor: str) -> PersonErasure:
    """Remove every prediction made for a client, with labels and inputs; raises InvalidInputError for an empty id.

    Rows that still wait in spools on this disk are counted: erase again when they are recorded.
    """
    if not client:
        raise InvalidInputError("an empty client id is everybody who gave none; name one with --client")
    return _erase_owned(context, "client", client, actor)


def erase_subject(context: AppContext, subject: str, actor: str) -> PersonErasure:
    """The same of every prediction whose row is about a person or thing."""
    if not subject:
        raise InvalidInputError("an empty subject is every row that is about nobody; name one with --subject")
    return _erase_owned(context, "subject", subject, actor)


@long_statements()
def _erase_owned(context: AppContext, owner: Owner, name: str, actor: str) -> PersonErasure:
    removed, now = ErasureResult(), context.clock()

    def record(connection: Connection, ids: list[str]) -> None:
        audit_entries.record_erasure(connection, actor, now, ids=ids)

    def owned(connection: Connection) -> list[str]:
        return erasure.owned_prediction_ids(connection, owner, name)

    while batch := _erase_batch(context, owned, record):
        removed += batch
    last: str | None = ""
    while last is not None:
        with context.database.write() as connection:
            last = outbox.drop_sent_contents(connection, last)
    folder = context.settings.spool_folder
    waiting = sum(spool.rows for spool in inspect_spools(folder))
    waiting += sum(file.rows for file in RowQuarantine(folder).list_files())
    key = load_secret(context.database, ERASURE_KEY, now)
    target = f"{owner}/{hmac.new(key, f'{owner} {name}'.encode(), sha256).hexdigest()[:16]}"
    with context.database.write() as connection:
        audit_entries.append(connection, actor, f"erase-{owner}", target, now, asdict(removed))
    return PersonErasure(**asdict(removed), waiting_in_spools=waiting)


def retention_policy(context: AppContext) -> RetentionPolicy:
    """What the settings keep for how long."""
    now, settings = context.clock(), context.settings

    def period(days: int) -> RetentionPeriod:
        return RetentionPeriod(days, now - timedelta(days=days)) if days else RetentionPeriod(None, None)

    days = settings.retain_answers_days, settings.retain_personal_days, settings.retain_column_counts_days
    return RetentionPolicy(*map(period, days))


@dataclass
class _ReferencePredictions:
    """The champion's predictions whose inputs its later ones are compared with."""

    model_name: str
    lengths: frozenset[timedelta]
    _of_promotion: int | None = None
    _ids: frozenset[str] = frozenset()

    def at_present(self, connection: Connection) -> frozenset[str]:
        """Their ids, read again when another version serves."""
        champion = promotion_history.latest_promotion(connection, self.model_name)
        if champion is not None and champion.seq != self._of_promotion:
            self._of_promotion = champion.seq
            self._ids = frozenset().union(
                *(reference_prediction_ids(connection, champion, length) for length in self.lengths)
            )
        return self._ids


def _reference_lengths(context: AppContext, need: DataNeed) -> frozenset[timedelta]:
    """How long the references of rules on inputs or columns are; as shipped where there is no alerts file yet."""
    if not context.settings.alerts_file.exists():
        return frozenset([DEFAULT_REFERENCE])
    return frozenset(rule.reference for rule in context.rules.rules if need in rule.metric_spec.data_needs)


def _remove_old(
    context: AppContext, actor: str, before: datetime, verify_lease: VerifyLease, throttle: ErasureThrottle
) -> ErasureResult:
    """Remove predictions made before a moment, with an entry in the audit log for each batch."""
    name, removed, cursor, last_id = context.model_name, ErasureResult(), "", ""
    kept = _ReferencePredictions(name, _reference_lengths(context, "pictures"))

    def old_ids(connection: Connection) -> list[str]:
        verify_lease(connection)
        return erasure.old_unlabelled_ids(
            connection, name, before, kept.at_present(connection), cursor, throttle.batch_size
        )

    def record(connection: Connection, ids: list[str]) -> None:
        nonlocal last_id
        last_id = ids[-1]
        audit_entries.record_erasure(connection, actor, context.clock(), before=before, prediction_count=len(ids))

    while throttle.should_continue():
        started = throttle.monotonic()
        batch = _erase_batch(context, old_ids, record)
        if batch is None:
            break
        removed, cursor = removed + batch, last_id
        throttle.pause_after(started)
    with context.database.write() as connection:
        verify_lease(connection)
        shadow_predictions.delete_before(connection, before, name)
    return removed


def _remove_column_counts(context: AppContext, before: datetime, verify_lease: VerifyLease) -> int:
    """Remove counts of columns of hours before a moment, but for those that rules compare the champion's later with."""
    longest = max(_reference_lengths(context, "columns"), default=DEFAULT_REFERENCE)
    with context.database.write() as connection:
        verify_lease(connection)
        champion = promotion_history.latest_promotion(connection, context.model_name)
        version, until = (None, before) if champion is None else (champion.to_version, champion.at + longest)
        return column_counts.delete_before(connection, context.model_name, before, version, until)


def _erase_batch(
    context: AppContext,
    select_ids: Callable[[Connection], list[str]],
    record: Callable[[Connection, list[str]], object],
) -> ErasureResult | None:
    """Erase the selected predictions and record that in the audit log, in one transaction; None without any."""
    for _ in range(MAX_TRIES):
        try:
            with context.database.write() as connection:
                ids = select_ids(connection)
                if not ids:
                    return None
                record(connection, ids)
                return erasure.erase(connection, ids, context.clock())
        except IntegrityError:
            continue  # somebody labelled one of the predictions, or sent one of the inputs, at the same moment
    raise ConflictError("answers that are to be erased are labelled at the same time, again and again; try again")


def _anonymise_old(context: AppContext, before: datetime, verify_lease: VerifyLease, throttle: ErasureThrottle) -> int:
    """Remove who asked from predictions made before a moment; returns from how many."""
    anonymised, cursor = 0, ""
    while throttle.should_continue():
        started = throttle.monotonic()
        with context.database.write() as connection:
            verify_lease(connection)
            ids = erasure.anonymise(connection, context.model_name, before, cursor, throttle.batch_size)
        if not ids:
            break
        anonymised, cursor = anonymised + len(ids), ids[-1]
        throttle.pause_after(started)
    return anonymised
