"""Changes which version serves: promotions and rollbacks by compare-and-set under a lease, with quarantine and alias.

The append-only promotions table is the truth; MLflow's `champion` alias is its projection, written last. MLflow's
own alias is last-writer-wins, so a promotion (1) takes the model's lease and its fencing token, (2) compares and
appends in one transaction that proves the lease, (3) writes the alias. Killed between 2 and 3, or overtaken by a
paused older writer, the alias is put right by `reconcile`, which every watcher runs.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.audit import attested_rows, audit_entries
from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.promotion import approvals, promotion_history, quarantines
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.store.version_contracts import VersionContracts
from registry.catalog import (
    CHALLENGER,
    CHAMPION,
    GOLDEN_DIGEST_TAG,
    GOLDEN_LOSSES_TAG,
    QUARANTINE_TAG,
    Catalog,
    RegisteredVersion,
)
from registry.confidence_bins import CALIBRATION_TAG, CalibrationFit
from registry.errors import RegistryUnavailableError, UnknownVersionError
from registry.model_contract import ModelContract
from registry.model_package import DIGEST_TAGS

LEASE_DURATION = timedelta(seconds=30)
LEASE_TIMEOUT_SECONDS = 45.0  # longer than the life of a lease whose holder was killed
DEVIATION_REPEAT_AFTER = timedelta(hours=1)
"""An alias that stays wrong, or is moved to and fro, is recorded no more often."""
MAX_TAG_CHARS = 500  # characters of a reason in the registry's tag


@dataclass(frozen=True)
class PromotionRequest:
    """A change of champion to carry out; `retraining_id` names the retraining whose candidate is promoted.

    `expected_seq` is the number of the promotion that must still be the newest; `force` promotes a version in
    quarantine and lifts that. Both callbacks run in the change's transaction: `precondition` raises where the change
    must not be made, `in_transaction` writes what else belongs to it, its notices included.
    """

    model: str
    to_version: int
    expected_version: int | None
    kind: promotion_history.PromotionKind
    actor: str
    reason: str
    verdict: Mapping[str, Any] | None = None
    retraining_id: str | None = None
    expected_seq: int | None = None
    force: bool = False
    precondition: Callable[[Connection], object] | None = None
    in_transaction: Callable[[Connection, promotion_history.Promotion], None] | None = None


@dataclass(frozen=True)
class PromotionService:
    """Reads and changes champions; `holder` names this process in leases.

    `notify` puts the notices about a change into the outbox, in the change's transaction.
    """

    database: Database
    catalog: Catalog
    clock: Clock
    holder: str
    lease_timeout_seconds: float = LEASE_TIMEOUT_SECONDS
    notify: Callable[[Connection, promotion_history.Promotion], object] | None = None

    @cached_property
    def contracts(self) -> VersionContracts:
        """What versions take and answer; pinned with each promotion."""
        return VersionContracts(lambda: self.catalog)

    def current(self, model: str) -> promotion_history.Promotion | None:
        """The promotion that made the serving version."""
        with self.database.read() as connection:
            return promotion_history.latest_promotion(connection, model)

    def promote(self, request: PromotionRequest) -> promotion_history.Promotion:
        """Carry the change out; raises ConflictError, FencedError, UnknownVersionError; alias written last.

        When MLflow cannot be reached at the very end the promotion stands and `reconcile` writes the alias.
        """
        version = self.catalog.version(request.model, request.to_version)
        with self.database.read() as connection:
            contract = self.contracts.of(connection, request.model, request.to_version)
        golden_versions = _count_golden_versions(version, self.catalog.versions(request.model))
        lease = self._acquire_lease(request.model)
        try:
            with self.database.write() as connection:
                leases.require_lease(connection, lease)
                promotion = self._append_promotion(connection, request, version, contract, golden_versions, lease)
            with suppress(RegistryUnavailableError):  # the history holds it; reconcile writes the alias later
                self._sync_alias(promotion)
                self.sync_quarantine_tags(request.model)
        finally:
            with self.database.write() as connection:
                leases.release(connection, lease)
        return promotion

    def rollback(
        self, model: str, actor: str, reason: str, *, seen: int | None = None, confirmed: int | None = None
    ) -> promotion_history.Promotion:
        """Restore the champion before the current one and set that apart; raises NotFoundError when there is none.

        Versions in quarantine are passed over. Raises ConflictError where `seen` is not the current champion any
        more, or where another version than `confirmed` would be restored.
        """
        with self.database.read() as connection:
            history = promotion_history.promotion_history(connection, model, limit=10_000)
            target = promotion_history.rollback_target(history, quarantines.quarantined_versions(connection, model))
        if seen is not None and history and history[0].to_version != seen:
            raise ConflictError(
                f"version {history[0].to_version} is champion now, and version {seen} was to be rolled back; nothing "
                "was done"
            )
        if target is None:
            raise NotFoundError(
                f"{model} has no earlier champion to roll back to, or they are in quarantine; `platform models list`"
            )
        if confirmed is not None and target != confirmed:
            raise ConflictError(
                f"version {target} would be restored now, and version {confirmed} was to be; nothing was done. Look "
                "again, and confirm that one"
            )
        current = history[0]
        change = PromotionRequest(
            model, target, current.to_version, "rollback", actor, reason, expected_seq=current.seq
        )
        return self.promote(change)

    def reconcile(self, model: str) -> bool:
        """Make the registry say what the store says; returns whether the alias had to be changed."""
        promotion = self.current(model)
        alias_version = self.catalog.alias(model, CHAMPION)
        wrong = promotion is not None and alias_version != promotion.to_version
        if promotion is not None and wrong:
            if (now := self.clock()) - promotion.at > LEASE_DURATION:  # else it may be about to be written
                with self.database.write() as connection:
                    record_alias_deviation(connection, promotion, alias_version, self.holder, now)
            self._sync_alias(promotion)
        self.sync_quarantine_tags(model)
        return wrong

    def sync_quarantine_tags(self, model: str, *, all_versions: bool = False) -> None:
        """Let the registry's tags say which versions are in quarantine: the ones that changed, or all of them."""
        with self.database.read() as connection:
            entries = quarantines.latest_entries(connection, model)
        for entry in entries:
            if all_versions or entry.projected_at is None:
                with suppress(UnknownVersionError):  # it was deleted from the registry
                    self._sync_tag(entry)
            if entry.projected_at is None:
                with self.database.write() as connection:
                    quarantines.mark_synced(connection, entry, self.clock())

    def _sync_tag(self, entry: quarantines.QuarantineEntry) -> None:
        is_tagged = QUARANTINE_TAG in self.catalog.version(entry.model_name, entry.version).tags
        if entry.lifted and is_tagged:
            self.catalog.delete_tag(entry.model_name, entry.version, QUARANTINE_TAG)
        elif not entry.lifted:
            self.catalog.set_tag(entry.model_name, entry.version, QUARANTINE_TAG, entry.reason[:MAX_TAG_CHARS])

    def _acquire_lease(self, model: str) -> leases.Lease:
        deadline = time.monotonic() + self.lease_timeout_seconds
        while True:
            with self.database.write() as connection:
                name = promotion_history.promotion_lease_name(model)
                lease = leases.acquire(connection, name, self.holder, LEASE_DURATION, self.clock())
            if lease is not None:
                return lease
            if time.monotonic() > deadline:
                raise ConflictError(f"another process is promoting {model}; repeat in half a minute")
            time.sleep(0.2)

    def _append_promotion(
        self,
        connection: Connection,
        request: PromotionRequest,
        version: RegisteredVersion,
        contract: ModelContract,
        golden_versions: int,
        lease: leases.Lease,
    ) -> promotion_history.Promotion:
        now = self.clock()
        # 1. Nothing stands in the way: whoever asks still may, and the version is not in quarantine.
        if request.precondition is not None:
            request.precondition(connection)
        quarantine = quarantines.quarantined_versions(connection, request.model).get(request.to_version)
        if quarantine is not None and not request.force:
            raise ConflictError(
                f"version {request.to_version} is in quarantine since {quarantine.at:%Y-%m-%d %H:%M} UTC, "
                f"by {quarantine.actor} "
                f"({quarantine.reason}); lift that with `platform models quarantine {request.to_version} --lift`, or "
                "promote it with --force"
            )
        # 2. The history grows by one; it raises where somebody else was first.
        promotion = promotion_history.append(
            connection,
            model_name=request.model,
            expected=request.expected_version,
            to_version=request.to_version,
            kind=request.kind,
            now=now,
            actor=request.actor,
            reason=request.reason,
            fence=lease.fence,
            retraining_id=request.retraining_id,
            verdict=request.verdict,
            last_seq=request.expected_seq,
        )
        # 3. A candidate that waited for approval waits no more, whichever version it was.
        approvals.close_by_promotion(connection, request.model, request.to_version, request.actor, now)
        # 4. What the new champion is measured by and opened with.
        _apply_quarantine(connection, request, now)
        _store_accuracy_baseline(connection, version, golden_versions, self.clock)
        _store_calibration_baseline(connection, version, self.clock)
        _store_digest_baseline(connection, version, self.clock)
        self.contracts.pin(connection, contract, version.name, version.version, now)
        # 5. The audit log vouches for it, and people are told.
        rows = attested_rows.promotion_digests(connection, promotion.seq)
        details = {"from": request.expected_version, "reason": request.reason, "fence": lease.fence, "rows": rows}
        audit_entries.append(
            connection, request.actor, request.kind, f"{request.model}/{request.to_version}", now, details
        )
        if request.in_transaction is not None:
            request.in_transaction(connection, promotion)
        elif self.notify is not None:
            self.notify(connection, promotion)
        return promotion

    def _sync_alias(self, promotion: promotion_history.Promotion) -> None:
        self.catalog.set_tag(promotion.model_name, promotion.to_version, "mlplatform.promotion", str(promotion.seq))
        if self.catalog.alias(promotion.model_name, CHALLENGER) == promotion.to_version:
            self.catalog.delete_alias(promotion.model_name, CHALLENGER)
        newest = self.current(promotion.model_name)
        if newest is not None and newest.seq == promotion.seq:
            self.catalog.set_alias(promotion.model_name, CHAMPION, promotion.to_version)


def _apply_quarantine(connection: Connection, request: PromotionRequest, now: datetime) -> None:
    """The version a rollback leaves goes into quarantine, and one that is promoted by force comes out of it."""
    if request.kind == "rollback" and request.expected_version is not None:
        set_quarantine(connection, request.model, request.expected_version, request.actor, request.reason, now)
    if request.force:
        set_quarantine(
            connection, request.model, request.to_version, request.actor, "promoted by force", now, lifted=True
        )


def record_alias_deviation(
    connection: Connection, promotion: promotion_history.Promotion, alias_version: int | None, actor: str, now: datetime
) -> bool:
    """Record that MLflow's alias named another version than the history; returns whether it was new."""
    subject = f"{promotion.model_name}/{promotion.to_version}"
    details = {"alias": alias_version, "champion": promotion.to_version, "promotion": promotion.seq}
    last = audit_entries.latest_entry(connection, "alias-deviation", subject)
    if last is not None and last.details == details and now - last.at < DEVIATION_REPEAT_AFTER:
        return False
    audit_entries.append(connection, actor, "alias-deviation", subject, now, details)
    return True


def set_quarantine(
    connection: Connection, model: str, version: int, actor: str, reason: str, now: datetime, *, lifted: bool = False
) -> bool:
    """Set a version apart, or lift that, with an entry in the audit log; returns whether it changed anything."""
    changed = quarantines.append_entry(connection, model, version, actor, reason, now, lifted=lifted)
    if changed:
        action = "lift-quarantine" if lifted else "quarantine"
        rows = attested_rows.quarantine_digests(connection, model, version)
        audit_entries.append(connection, actor, action, f"{model}/{version}", now, {"reason": reason, "rows": rows})
    return changed


def _count_golden_versions(version: RegisteredVersion, versions: Sequence[RegisteredVersion]) -> int:
    """Among how many versions that were compared on the same golden rows this one was chosen, itself included.

    A version that noted no digest of its golden rows is counted: more versions mean weaker evidence.
    """
    digest = version.tags.get(GOLDEN_DIGEST_TAG)
    others = [other for other in versions if other.version != version.version]
    return 1 + sum(digest is None or other.tags.get(GOLDEN_DIGEST_TAG, digest) == digest for other in others)


def _store_accuracy_baseline(
    connection: Connection, version: RegisteredVersion, golden_versions: int, clock: Clock
) -> None:
    correct, total = version.tags.get("golden_correct"), version.tags.get("golden_total")
    if correct is not None and total is not None:
        numbers: dict[str, Any] = {"correct": int(correct), "total": int(total), "versions": golden_versions}
        if (losses := version.tags.get(GOLDEN_LOSSES_TAG)) is not None:
            numbers["losses"] = json.loads(losses)
        evaluations.store_baseline(connection, version.name, version.version, "accuracy", "", numbers, clock())


def _store_digest_baseline(connection: Connection, version: RegisteredVersion, clock: Clock) -> None:
    """The digests of its files, as the registry has them at this moment: servers open no others under its number."""
    digests = {tag: version.tags[tag] for tag in DIGEST_TAGS.values() if tag in version.tags}
    if digests:
        evaluations.store_baseline(
            connection, version.name, version.version, evaluations.ARTIFACT_DIGESTS, "", digests, clock()
        )


def _store_calibration_baseline(connection: Connection, version: RegisteredVersion, clock: Clock) -> None:
    text = version.tags.get(CALIBRATION_TAG)
    if text is not None:
        numbers = json.loads(CalibrationFit.from_json(text).to_json())
        evaluations.store_baseline(connection, version.name, version.version, "calibration", "", numbers, clock())


def promotion_service(context: AppContext) -> PromotionService:
    """The service of this process; every change is announced on the channels of alerts.yaml."""

    def notify(connection: Connection, promotion: promotion_history.Promotion) -> None:
        from mlplatform.promotion.promotion_notices import enqueue_promotion_notice  # only who promotes needs it

        enqueue_promotion_notice(connection, context, promotion)

    return PromotionService(context.database, context.catalog, context.clock, context.instance, notify=notify)
