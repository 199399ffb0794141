"""The champion: who serves, changed by compare-and-set under a lease; it judges no model and loads none.

The append-only promotions table is the truth; MLflow's `champion` alias is its projection, written last. MLflow's
own alias is last-writer-wins, so a promotion (1) takes the model's lease and its fencing token, (2) compares and
appends in one transaction that proves the lease, (3) writes the alias. Killed between 2 and 3, or overtaken by a
paused older writer, the alias is put right by `reconcile`, which every watcher runs.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.audit import attested_rows, audit_entries
from mlplatform.clock import Clock
from mlplatform.context import Parts
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.promotion import promotion_history, quarantines, retraining_fence
from mlplatform.store import leases
from mlplatform.store.database import Database
from registry.catalog import CHALLENGER, CHAMPION, QUARANTINE_TAG, Catalog, Version
from registry.confidence_bins import CALIBRATION_TAG, Doubt
from registry.errors import RegistryUnavailableError, UnknownVersionError
from registry.model_package import DIGEST_TAGS

LEASE_LIFE = timedelta(seconds=30)
LEASE_PATIENCE_SECONDS = 45.0  # longer than the life of a lease whose holder was killed
DEVIATION_AGAIN = timedelta(hours=1)
"""An alias that stays wrong, or is moved to and fro, is noted no more often."""
SHOWN = 500  # characters of a reason in the registry's tag


@dataclass(frozen=True)
class Change:
    """A wish to change the champion. `retraining` is (id, owner token) when a retraining makes it.

    `after` is the number of the promotion that must still be the newest; `force` promotes a version in quarantine and
    lifts that; `within` writes what else belongs to the change, in its transaction, and tells of it.
    """

    model: str
    to_version: int
    expected: int | None
    kind: promotion_history.Kind
    actor: str
    reason: str
    verdict: Mapping[str, Any] | None = None
    retraining: tuple[str, str] | None = None
    after: int | None = None
    force: bool = False
    within: Callable[[Connection, promotion_history.Promotion], None] | None = None


@dataclass(frozen=True)
class Champions:
    """Reads and changes champions; `holder` names this process in leases.

    `announce` puts the notices about a change into its transaction.
    """

    database: Database
    catalog: Catalog
    clock: Clock
    holder: str
    patience_seconds: float = LEASE_PATIENCE_SECONDS
    announce: Callable[[Connection, Change, promotion_history.Promotion], object] | None = None

    def current(self, model: str) -> promotion_history.Promotion | None:
        """The promotion that made the serving version."""
        with self.database.read() as connection:
            return promotion_history.latest(connection, model)

    def promote(self, change: Change) -> promotion_history.Promotion:
        """Carry the change out; raises ConflictError, FencedError, UnknownVersionError; alias written last.

        When MLflow cannot be reached at the very end the promotion stands and `reconcile` writes the alias.
        """
        version = self.catalog.version(change.model, change.to_version)
        lease = self._take_lease(change.model)
        try:
            with self.database.write() as connection:
                leases.prove(connection, lease)
                promotion = self._append(connection, change, version, lease)
            with suppress(RegistryUnavailableError):  # the history holds it; reconcile writes the alias later
                self._project(promotion)
                self.show_quarantines(change.model)
        finally:
            with self.database.write() as connection:
                leases.release(connection, lease)
        return promotion

    def rollback(self, model: str, actor: str, reason: str) -> promotion_history.Promotion:
        """Restore the champion before the current one and set that apart; raises NotFoundError when there is none.

        Versions in quarantine are passed over.
        """
        with self.database.read() as connection:
            history = promotion_history.history(connection, model, limit=10_000)
            target = promotion_history.previous(history, quarantines.current(connection, model))
        if target is None:
            raise NotFoundError(
                f"{model} has no earlier champion to roll back to, or they are in quarantine; `platform models list`"
            )
        current = history[0]
        change = Change(model, target, current.to_version, "rollback", actor, reason, after=current.seq)
        return self.promote(change)

    def reconcile(self, model: str) -> bool:
        """Make the registry say what the store says; returns whether the alias had to be changed."""
        promotion = self.current(model)
        found = self.catalog.alias(model, CHAMPION)
        wrong = promotion is not None and found != promotion.to_version
        if promotion is not None and wrong:
            if (now := self.clock()) - promotion.at > LEASE_LIFE:  # else it may be about to be written
                with self.database.write() as connection:
                    deviation(connection, promotion, found, self.holder, now)
            self._project(promotion)
        self.show_quarantines(model)
        return wrong

    def show_quarantines(self, model: str, *, thorough: bool = False) -> None:
        """Let the registry's tags say which versions are in quarantine: the ones that changed, or all of them."""
        with self.database.read() as connection:
            entries = quarantines.newest(connection, model)
        for entry in entries:
            if thorough or entry.projected_at is None:
                with suppress(UnknownVersionError):  # it was deleted from the registry
                    self._show(entry)
            if entry.projected_at is None:
                with self.database.write() as connection:
                    quarantines.projected(connection, entry, self.clock())

    def _show(self, entry: quarantines.Entry) -> None:
        shown = QUARANTINE_TAG in self.catalog.version(entry.model_name, entry.version).tags
        if entry.lifted and shown:
            self.catalog.delete_tag(entry.model_name, entry.version, QUARANTINE_TAG)
        elif not entry.lifted:
            self.catalog.set_tag(entry.model_name, entry.version, QUARANTINE_TAG, entry.reason[:SHOWN])

    def _take_lease(self, model: str) -> leases.Lease:
        deadline = time.monotonic() + self.patience_seconds
        while True:
            with self.database.write() as connection:
                lease = leases.acquire(connection, f"promotion:{model}", self.holder, LEASE_LIFE, self.clock())
            if lease is not None:
                return lease
            if time.monotonic() > deadline:
                raise ConflictError(f"another process is promoting {model}; repeat in half a minute")
            time.sleep(0.2)

    def _append(
        self, connection: Connection, change: Change, version: Version, lease: leases.Lease
    ) -> promotion_history.Promotion:
        now = self.clock()
        if change.retraining is not None:
            retraining_fence.prove(connection, *change.retraining)
        barred = quarantines.current(connection, change.model).get(change.to_version)
        if barred is not None and not change.force:
            raise ConflictError(
                f"version {change.to_version} is in quarantine since {barred.at:%Y-%m-%d %H:%M} UTC, by {barred.actor} "
                f"({barred.reason}); lift that with `platform models quarantine {change.to_version} --lift`, or "
                "promote it with --force"
            )
        promotion = promotion_history.append(
            connection,
            model_name=change.model,
            expected=change.expected,
            to_version=change.to_version,
            kind=change.kind,
            now=now,
            actor=change.actor,
            reason=change.reason,
            fence=lease.fence,
            retraining_id=None if change.retraining is None else change.retraining[0],
            verdict=change.verdict,
            after=change.after,
        )
        _set_apart(connection, change, now)
        _pin_accuracy(connection, version, self.clock)
        _pin_calibration(connection, version, self.clock)
        _pin_digests(connection, version, self.clock)
        rows = attested_rows.of_promotion(connection, promotion.seq)
        details = {"from": change.expected, "reason": change.reason, "fence": lease.fence, "rows": rows}
        audit_entries.note(connection, change.actor, change.kind, f"{change.model}/{change.to_version}", now, details)
        if change.within is not None:
            change.within(connection, promotion)
        elif self.announce is not None:
            self.announce(connection, change, promotion)
        return promotion

    def _project(self, promotion: promotion_history.Promotion) -> None:
        self.catalog.set_tag(promotion.model_name, promotion.to_version, "mlplatform.promotion", str(promotion.seq))
        if self.catalog.alias(promotion.model_name, CHALLENGER) == promotion.to_version:
            self.catalog.delete_alias(promotion.model_name, CHALLENGER)
        newest = self.current(promotion.model_name)
        if newest is not None and newest.seq == promotion.seq:
            self.catalog.set_alias(promotion.model_name, CHAMPION, promotion.to_version)


def _set_apart(connection: Connection, change: Change, now: datetime) -> None:
    """The version a rollback leaves goes into quarantine, and one that is promoted by force comes out of it."""
    if change.kind == "rollback" and change.expected is not None:
        quarantine(connection, change.model, change.expected, change.actor, change.reason, now)
    if change.force:
        quarantine(connection, change.model, change.to_version, change.actor, "promoted by force", now, lifted=True)


def deviation(
    connection: Connection, promotion: promotion_history.Promotion, found: int | None, actor: str, now: datetime
) -> bool:
    """Note once in the audit log that MLflow's alias named another version than the history; whether it was news."""
    subject = f"{promotion.model_name}/{promotion.to_version}"
    details = {"alias": found, "champion": promotion.to_version, "promotion": promotion.seq}
    last = audit_entries.newest(connection, "alias-deviation", subject)
    if last is not None and last.details == details and now - last.at < DEVIATION_AGAIN:
        return False
    audit_entries.note(connection, actor, "alias-deviation", subject, now, details)
    return True


def quarantine(
    connection: Connection, model: str, version: int, actor: str, reason: str, now: datetime, *, lifted: bool = False
) -> bool:
    """Set a version apart, or lift that, with an entry in the audit log; returns whether it changed anything."""
    changed = quarantines.add(connection, model, version, actor, reason, now, lifted=lifted)
    if changed:
        action = "lift-quarantine" if lifted else "quarantine"
        rows = attested_rows.of_quarantine(connection, model, version)
        audit_entries.note(connection, actor, action, f"{model}/{version}", now, {"reason": reason, "rows": rows})
    return changed


def _pin_accuracy(connection: Connection, version: Version, clock: Clock) -> None:
    correct, total = version.tags.get("golden_correct"), version.tags.get("golden_total")
    if correct is not None and total is not None:
        numbers = {"correct": int(correct), "total": int(total)}
        evaluations.set_baseline(connection, version.name, version.version, "accuracy", "", numbers, clock())


def _pin_digests(connection: Connection, version: Version, clock: Clock) -> None:
    """What its files are, as the registry says at this moment: servers open no others under its number."""
    noted = {tag: version.tags[tag] for tag in DIGEST_TAGS.values() if tag in version.tags}
    if noted:
        evaluations.set_baseline(connection, version.name, version.version, evaluations.DIGESTS, "", noted, clock())


def _pin_calibration(connection: Connection, version: Version, clock: Clock) -> None:
    text = version.tags.get(CALIBRATION_TAG)
    if text is not None:
        numbers = json.loads(Doubt.from_json(text).to_json())
        evaluations.set_baseline(connection, version.name, version.version, "calibration", "", numbers, clock())


def promotion_service(parts: Parts) -> Champions:
    """The way to read and change champions, from the parts of a process; what changes is announced on the channels."""

    def announce(connection: Connection, change: Change, promotion: promotion_history.Promotion) -> None:
        from mlplatform.promotion.promotion_notices import post_change  # what only a process that promotes needs

        post_change(connection, parts, change, promotion)

    return Champions(parts.database, parts.catalog, parts.clock, parts.instance, announce=announce)
