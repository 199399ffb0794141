"""Trainings carried out: rows gathered from the store, a candidate made, the winner promoted; it queues nothing.

Two doors: `train` by hand, and `work` for a queued retraining in a process of its own.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mlplatform.alerting import alert_records
from mlplatform.clock import new_id
from mlplatform.context import Parts
from mlplatform.errors import FencedError, StoreUnavailableError
from mlplatform.promotion import promotion_history, retraining_fence
from mlplatform.promotion.promotion_service import Change, promotion_service
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import sentence_of, use_of
from mlplatform.retraining.memory_limit import lift_limit, told
from mlplatform.retraining.training_labels import Material, ask_people, gather, limits_for, quotas_of
from mlplatform.retraining.withdrawal import RETRAINING_TAG, withdraw
from mlplatform.serialization import plain
from mlplatform.store.timeouts import unhurried
from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.row_selection import Rows
from pipelines.candidate.training_spec import Order, champion_of
from pipelines.discovery import find_family
from pipelines.errors import TrainingStopped
from pipelines.pipeline import Family
from pipelines.recipe import Recipe
from pipelines.training.training_loop import EpochMetrics
from registry.errors import RegistryError
from registry.gate.verdict import GatePolicy
from registry.model_package import MODEL_FILE
from registry.run_provenance import MANUAL, git_revision, provenance
from registry.store_retries import patiently

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a training led to."""

    candidate: Candidate
    promotion: promotion_history.Promotion | None
    labels: str = ""
    """What became of the labels, in a sentence."""


@unhurried()
def train(
    parts: Parts,
    family: Family,
    reason: str,
    actor: str,
    *,
    recipe: Recipe | str | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
) -> Outcome:
    """Make a version by hand from base data and feedback; the winner of the gate becomes champion."""
    order, material, expected = _order(parts, family, reason, recipe, provenance(MANUAL, revision()))

    used: dict[str, Any] = {}

    def chosen(rows: Rows) -> None:
        used["labels"] = _use_of(rows, material)
        with parts.database.write() as connection:
            ask_people(connection, parts, family.name, f"label-review/{new_id()}", material, rows.set_aside)

    with patiently(parts.settings.mlflow_patience_seconds):
        candidate = make_candidate(order, parts.tracking, parts.catalog, on_rows=chosen, on_epoch=on_epoch)
        verdict = plain(candidate.verdict) | used
        promotion = _promote(parts, family, candidate, verdict, expected, actor, reason, None)
    return Outcome(candidate, promotion, sentence_of(verdict))


@unhurried()
def work(
    parts: Parts, retraining_id: str, owner: str, find: Callable[[str], Family] = find_family
) -> retraining_queue.State:
    """Carry out a retraining that this process owns, with a heartbeat; returns the state it ended in."""
    pulse = Pulse(parts, retraining_id, owner)
    pulse.start()
    try:
        return _carry_out(parts, retraining_id, owner, pulse, find)
    except (FencedError, TrainingStopped) as error:
        log.warning("retraining %s stops: %s", retraining_id, error)
        return _stopped(parts, retraining_id, owner, str(error))
    except Exception as error:  # a process's edge: whatever ends it is what people find in the row
        lift_limit()
        log.exception("retraining %s failed", retraining_id)
        _close(parts, retraining_id, owner, "failed", error=told(error, parts.settings.training_memory_mb))
        return "failed"
    finally:
        pulse.close()


def _stopped(parts: Parts, retraining_id: str, owner: str, error: str) -> retraining_queue.State:
    """Take back what a retraining that was closed has registered; one that is open still is closed as failed."""
    with parts.database.read() as connection:
        row = retraining_queue.find(connection, retraining_id)
    if row.state == "running":
        _close(parts, retraining_id, owner, "failed", error=error)
        return "failed"
    try:
        withdraw(parts, row, f"retraining/{row.id}")
    except RegistryError as failed:
        log.warning("what retraining %s registered is left to the watcher: %s", row.id, failed)
    return "cancelled"


def _carry_out(
    parts: Parts, retraining_id: str, owner: str, pulse: "Pulse", find: Callable[[str], Family]
) -> retraining_queue.State:
    with parts.database.read() as connection:
        row = retraining_queue.find(connection, retraining_id)
    tags = {**provenance(row.alert_id or row.trigger, revision()), RETRAINING_TAG: row.id}
    family = find(row.pipeline)
    pulse.now("gathering labels")
    order, material, expected = _order(parts, family, row.reason, None, tags, _since(parts, row))
    pulse.now("choosing rows")
    used: dict[str, Any] = {}

    def chosen(rows: Rows) -> None:
        used["labels"] = _use_of(rows, material)
        with parts.database.write() as connection:
            retraining_fence.prove(connection, retraining_id, owner)
            ask_people(connection, parts, family.name, f"label-review/{row.id}", material, rows.set_aside)
        pulse.now("training")

    def started(run_id: str) -> None:
        with parts.database.write() as connection:
            retraining_queue.note_run(connection, retraining_id, owner, run_id)

    with patiently(parts.settings.mlflow_patience_seconds):
        candidate = make_candidate(
            order,
            parts.tracking,
            parts.catalog,
            on_rows=chosen,
            on_start=started,
            on_epoch=pulse.epoch,
            should_stop=pulse.lost.is_set,
            is_wanted=pulse.is_wanted,
        )
        promotion, verdict = None, plain(candidate.verdict) | used
        if not (row.dry_run or (row.trigger == "alert" and parts.rules.retraining.dry_run)):
            actor = f"retraining/{row.id}"
            promotion = _promote(parts, family, candidate, verdict, expected, actor, row.reason, (row.id, owner))
    try:
        with parts.database.write() as connection:
            retraining_queue.finish(
                connection,
                retraining_id,
                owner,
                "succeeded",
                parts.clock(),
                candidate_version=candidate.version,
                verdict=verdict,
                promoted=promotion is not None,
            )
    except FencedError:
        if promotion is None:
            raise
        log.warning("retraining %s has promoted its candidate and was closed as succeeded by another", retraining_id)
    return "succeeded"


def _order(
    parts: Parts,
    family: Family,
    reason: str,
    recipe: Recipe | str | None,
    tags: dict[str, str],
    since: datetime | None = None,
) -> tuple[Order, Material, int | None]:
    promotion_service(parts).show_quarantines(
        family.name, thorough=True
    )  # the gate's record goes by the registry's tags
    current = promotion_service(parts).current(family.name)
    champion = None
    if current is not None:
        champion = champion_of(parts.catalog, family, current.to_version, parts.model_cache, MODEL_FILE)
    limits = limits_for(parts, family)
    material = gather(parts, family, limits.group_by, limits.quotas.trusted)
    order = Order(
        family=family,
        recipe=recipe if isinstance(recipe, Recipe) else recipe_of(parts, family, recipe),
        split=family.load(parts.settings.data_dir),
        feedback=material.rows,
        champion=champion,
        seed=parts.settings.seed,
        reason=reason,
        tags=tags,
        policy=GatePolicy(golden_margin=parts.settings.gate_margin_points / 100),
        origins=material.origins,
        quotas=quotas_of(limits),
        groups=material.groups,
        unusable=material.unusable,
        recent=material.since(since),
        checkpoints=parts.settings.home / "checkpoints",
        device=parts.settings.training_device,
        elsewhere=family.elsewhere(parts.settings.data_dir),
    )
    return order, material, None if current is None else current.to_version


def _use_of(rows: Rows, material: Material) -> dict[str, Any] | None:
    """What becomes of the labels there are, for the verdict."""
    trained, judged = (0 if side is None else len(side) for side in (rows.new, rows.held_back))
    return use_of(len(material.given), trained, judged, rows.set_aside)


def recipe_of(parts: Parts, family: Family, name: str | None = None) -> Recipe:
    """The recipe of this name, or the settings' one, or the family's own."""
    return family.recipe(name or parts.settings.recipe or None)


def _since(parts: Parts, row: retraining_queue.Retraining) -> datetime | None:
    """Since when answers have been bad, by the alerts that asked for the retraining."""
    with parts.database.read() as connection:
        return alert_records.changed_since(connection, retraining_queue.alerts_of(row))


def revision() -> str | None:
    """The git revision of this code, None where it is installed without its checkout."""
    return git_revision(Path(__file__).parent)


def _promote(
    parts: Parts,
    family: Family,
    candidate: Candidate,
    verdict: Mapping[str, Any],
    expected: int | None,
    actor: str,
    reason: str,
    retraining: tuple[str, str] | None,
) -> promotion_history.Promotion | None:
    if candidate.verdict.outcome != "promote":
        return None
    kind: promotion_history.Kind = "first" if expected is None else "promote"
    change = Change(
        family.name,
        candidate.version,
        expected,
        kind,
        actor,
        reason,
        verdict=verdict,
        retraining=retraining,
    )
    return promotion_service(parts).promote(change)


def _close(
    parts: Parts,
    retraining_id: str,
    owner: str,
    state: retraining_queue.State,
    **values: Any,  # noqa: ANN401 - passed on as they are
) -> None:
    try:
        with parts.database.write() as connection:
            retraining_queue.finish(connection, retraining_id, owner, state, parts.clock(), **values)
    except FencedError as error:
        log.warning("%s", error)


@dataclass
class Pulse:
    """The heartbeat of a running retraining; ends the process when its parent died, stops when it lost its row."""

    parts: Parts
    retraining_id: str
    owner: str
    lost: threading.Event = field(default_factory=threading.Event)
    _done: threading.Event = field(default_factory=threading.Event)
    _progress: dict[str, Any] | None = None
    _parent: int = field(default_factory=os.getppid)

    def start(self) -> None:
        """Begin beating from a thread of its own."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def close(self) -> None:
        """Beat no more."""
        self._done.set()

    def now(self, step: str) -> None:
        """Remember what is being done; the next beat carries it."""
        self._progress = {"step": step}

    def is_wanted(self) -> bool:
        """Whether the row is still this process's, asked afresh; a database that is away is waited for a while."""
        for patience in (True, True, True, False):
            try:
                with self.parts.database.write() as connection:
                    retraining_fence.prove(connection, self.retraining_id, self.owner)
                return not self.lost.is_set()
            except FencedError:
                self.lost.set()
            except StoreUnavailableError:
                if not patience:
                    raise
            if self.lost.wait(self.parts.settings.heartbeat_seconds):
                return False
        return False

    def epoch(self, metrics: EpochMetrics) -> None:
        """Remember how far the training is; the next beat carries it."""
        self._progress = {
            "step": "training" if metrics.epoch < metrics.epochs else "judging",
            "epoch": metrics.epoch,
            "epochs": metrics.epochs,
            "validation_accuracy": round(metrics.validation_accuracy, 4),
        }

    def _run(self) -> None:
        while not self._done.wait(self.parts.settings.heartbeat_seconds):
            if os.getppid() != self._parent:
                log.error("the watcher that started this retraining died; ending with it")
                os._exit(75)
            try:
                with self.parts.database.write() as connection:
                    retraining_queue.beat(
                        connection, self.retraining_id, self.owner, self.parts.clock(), self._progress
                    )
            except FencedError as error:
                log.warning("%s", error)
                self.lost.set()
                return
            except (StoreUnavailableError, MemoryError) as error:  # the next beat may find it better
                log.warning("no heartbeat: %s", error)
