"""The champion: who serves, changed by compare-and-set under a lease; it judges no model and loads none.

The append-only promotions table is the truth; MLflow's `champion` alias is its projection, written last. MLflow's
own alias is last-writer-wins, so a promotion (1) takes the model's lease and its fencing token, (2) compares and
appends in one transaction that proves the lease, (3) writes the alias. Killed between 2 and 3, or overtaken by a
paused older writer, the alias is put right by `reconcile`, which every watcher runs.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from mlplatform.clock import Clock
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.store import audit, evaluations, leases, promotions, retrainings
from mlplatform.store.database import Database
from registry.catalog import CHALLENGER, CHAMPION, Catalog, Version
from registry.errors import RegistryUnavailableError

LEASE_LIFE = timedelta(seconds=30)
LEASE_PATIENCE_SECONDS = 45.0  # longer than the life of a lease whose holder was killed


@dataclass(frozen=True)
class Change:
    """A wish to change the champion. `retraining` is (id, owner token) when a retraining makes it."""

    model: str
    to_version: int
    expected: int | None
    kind: promotions.Kind
    actor: str
    reason: str
    verdict: Mapping[str, Any] | None = None
    retraining: tuple[str, str] | None = None


@dataclass(frozen=True)
class Champions:
    """Reads and changes champions; `holder` names this process in leases."""

    database: Database
    catalog: Catalog
    clock: Clock
    holder: str
    patience_seconds: float = LEASE_PATIENCE_SECONDS

    def current(self, model: str) -> promotions.Promotion | None:
        """The promotion that made the serving version."""
        with self.database.read() as connection:
            return promotions.latest(connection, model)

    def promote(self, change: Change) -> promotions.Promotion:
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
        finally:
            with self.database.write() as connection:
                leases.release(connection, lease)
        return promotion

    def rollback(self, model: str, actor: str, reason: str) -> promotions.Promotion:
        """Restore the champion before the current one; raises NotFoundError when there is none."""
        with self.database.read() as connection:
            target = previous(promotions.history(connection, model, limit=10_000))
            current = promotions.latest(connection, model)
        if target is None or current is None:
            raise NotFoundError(f"{model} has no earlier champion to roll back to; `platform models list`")
        return self.promote(Change(model, target, current.to_version, "rollback", actor, reason))

    def reconcile(self, model: str) -> bool:
        """Make the alias say what the history says; returns whether it had to be changed."""
        promotion = self.current(model)
        if promotion is None or self.catalog.alias(model, CHAMPION) == promotion.to_version:
            return False
        self._project(promotion)
        return True

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
    ) -> promotions.Promotion:
        now = self.clock()
        if change.retraining is not None:
            retrainings.prove(connection, *change.retraining)
        promotion = promotions.append(
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
        )
        _pin_accuracy(connection, version, self.clock)
        details = {"from": change.expected, "reason": change.reason, "fence": lease.fence}
        audit.note(connection, change.actor, change.kind, f"{change.model}/{change.to_version}", now, details)
        return promotion

    def _project(self, promotion: promotions.Promotion) -> None:
        self.catalog.set_tag(promotion.model_name, promotion.to_version, "mlplatform.promotion", str(promotion.seq))
        if self.catalog.alias(promotion.model_name, CHALLENGER) == promotion.to_version:
            self.catalog.delete_alias(promotion.model_name, CHALLENGER)
        newest = self.current(promotion.model_name)
        if newest is not None and newest.seq == promotion.seq:
            self.catalog.set_alias(promotion.model_name, CHAMPION, promotion.to_version)


def previous(history: list[promotions.Promotion]) -> int | None:
    """The version a rollback restores, from a history newest first: rollbacks undo, they do not stack."""
    served: list[int] = []
    for promotion in reversed(history):
        if promotion.kind == "rollback" and len(served) > 1:
            served.pop()
        else:
            served.append(promotion.to_version)
    return served[-2] if len(served) > 1 else None


def _pin_accuracy(connection: Connection, version: Version, clock: Clock) -> None:
    correct, total = version.tags.get("golden_correct"), version.tags.get("golden_total")
    if correct is not None and total is not None:
        numbers = {"correct": int(correct), "total": int(total)}
        evaluations.set_baseline(connection, version.name, version.version, "accuracy", "", numbers, clock())
