"""A retraining that is cancelled, at whatever step, leaves no version and moves no alias."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, FencedError
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.heartbeat import RetrainingHeartbeat
from mlplatform.retraining.supervisor import retraining_supervisor
from mlplatform.retraining.withdrawal import RETRAINING_TAG, interrupted_retrainings, withdraw_versions
from mlplatform.retraining.worker import training_worker
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.database import Database
from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.data import Split
from pipelines.pipeline import Pipeline
from registry.catalog import PREVIOUS_CHALLENGER_TAG
from registry.errors import RegistryUnavailableError
from tests.support.fake_registry import (
    FakeRun,
    FakeTracking,
    MemoryCatalog,
    bars_family,
    bars_split,
    make_plain_candidate,
)
from tests.support.monitoring_world import RULES, with_rules
from tests.support.platform_world import START, FakeClock
from tests.support.training_context import claimed, now_of

STEPS = (
    "log_params",
    "log_metrics",
    "log_figure",
    "log_model",
    "alias",
    "register",
    "registered",
    "set_alias",
    "aliased",
    "version",
)


class KilledError(BaseException):
    """What ends a process at a line."""


@dataclass
class SteppedCatalog(MemoryCatalog):
    """A registry in memory that tells of each step before, and after it has written."""

    at: Callable[[str], None] = field(default=lambda _: None)

    def register(
        self,
        name: str,
        model_uri: str,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> int:
        self.at("register")
        made = super().register(name, model_uri, run_id, tags, description)
        self.at("registered")
        return made

    def alias(self, name: str, alias: str) -> int | None:
        self.at("alias")
        return super().alias(name, alias)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.at("set_alias")
        super().set_alias(name, alias, version)
        self.at("aliased")

    def version(self, name: str, version: int) -> Any:  # noqa: ANN401 - as the registry in memory has it
        self.at("version")
        return super().version(name, version)


class SteppedRun(FakeRun):
    """A run that tells of each step."""

    at: Callable[[str], None]

    def log_params(self, params: Mapping[str, str | int | float | bool]) -> None:
        self.at("log_params")
        super().log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.at("log_metrics")
        super().log_metrics(metrics, step)

    def log_figure(self, name: str, draw: Callable[[], bytes]) -> None:
        self.at("log_figure")
        super().log_figure(name, draw)

    def log_model(self, *given: Any, **named: Any) -> str:  # noqa: ANN401 - as the run in memory takes it
        self.at("log_model")
        return super().log_model(*given, **named)


class SteppedTracking(FakeTracking):
    """Runs in memory that tell of each step."""

    at: Callable[[str], None]

    def opened(self, run_id: str, name: str, tags: Mapping[str, str]) -> FakeRun:
        made = SteppedRun(run_id, name, tags, figures=self.keeps_figures)
        made.at = self.at
        return made


@dataclass
class Shop:
    """A platform that trains into a registry in memory, with an earlier challenger in it."""

    context: AppContext
    family: Pipeline
    catalog: SteppedCatalog
    tracking: SteppedTracking
    seen: list[str] = field(default_factory=list)

    def at(self, step: str, act: Callable[[], None]) -> None:
        """Act once, at the first time of that step."""

        def told(name: str) -> None:
            first = name == step and name not in self.seen
            self.seen.append(name)
            if first:
                act()

        self.catalog.at = told
        self.tracking.at = told

    def cancel(self, row: retraining_queue.Retraining) -> None:
        with self.context.database.write() as connection:
            retraining_endings.cancel(connection, row.id, "ann", self.context.clock())

    def train(
        self, row: retraining_queue.Retraining, make: Callable[..., Candidate] = make_plain_candidate
    ) -> retraining_queue.RetrainingState:
        return training_worker(self.context, make).run_retraining(row.id, "me", lambda _name: self.family)

    @property
    def registered(self) -> tuple[set[int], dict[str, int]]:
        return set(self.catalog.held), dict(self.catalog.pointers)


@pytest.fixture(scope="module")
def split() -> Split:
    return bars_split(32)


@pytest.fixture
def training_context(tmp_path: Path, sqlite_template: Path, split: Split) -> Iterator[Shop]:
    shutil.copy(sqlite_template, tmp_path / "platform.db")
    settings = Settings(
        _env_file=None, home=tmp_path, heartbeat_seconds=0.05, alerts_file=tmp_path / "alerts.yaml", pipeline="digits"
    )
    tracking = SteppedTracking()
    catalog = SteppedCatalog(tracking)
    catalog.register("bars", "", "run-0")
    catalog.set_alias("bars", "challenger", 1)
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    context = AppContext(settings, FakeClock(), database=database, tracking=tracking, catalog=catalog)
    made = Shop(context, bars_family(split), catalog, tracking)
    made.at("", lambda: None)
    yield made
    database.close()


UNTOUCHED = ({1}, {"challenger": 1})


@pytest.mark.parametrize("step", STEPS)
def test_a_retraining_cancelled_at_any_step_leaves_nothing_and_moves_nothing(training_context: Shop, step: str) -> None:
    row = claimed(training_context.context)
    training_context.at(step, lambda: training_context.cancel(row))
    make = make_candidate if step == STEPS[-1] else make_plain_candidate
    assert training_context.train(row, make) == "cancelled"
    assert step in training_context.seen
    assert now_of(training_context.context, row).state == "cancelled"
    assert training_context.registered == UNTOUCHED
    with training_context.context.database.read() as connection:
        assert promotion_history.latest_promotion(connection, "bars") is None
        assert promotion_history.find_by_retraining(connection, row.id) is None


@pytest.mark.parametrize("step", ["registered", "aliased"])
def test_what_a_cancelled_and_killed_training_registered_is_taken_back_by_the_watcher(
    training_context: Shop, step: str
) -> None:
    with_rules(training_context.context, RULES.replace("model: digits", "model: bars"))
    row = claimed(training_context.context)

    def killed() -> None:
        raise KilledError

    training_context.at(step, killed)
    with pytest.raises(KilledError):
        training_context.train(row)
    assert training_context.registered[0] == {1, 2}
    training_context.cancel(row)
    with training_context.context.database.write() as connection:
        lease = leases.acquire(connection, "watcher:bars", "w", timedelta(hours=1), START)
    assert lease is not None
    training_context.at("", lambda: None)
    retraining_supervisor(training_context.context).tick(lease)
    assert training_context.registered == UNTOUCHED
    with training_context.context.database.read() as connection:
        assert interrupted_retrainings(connection, "bars", START) == []
        [entry] = [each for each in audit_entries.recent_entries(connection) if each["action"] == "withdraw"]
    assert (entry["actor"], entry["subject"]) == ("watcher", f"retraining/{row.id}")


def heartbeat_of(context: AppContext, retraining_id: str, owner: str) -> RetrainingHeartbeat:
    return RetrainingHeartbeat(
        context.database, context.clock, context.settings.heartbeat_seconds, retraining_id, owner
    )


def made_by(training_context: Shop, row: retraining_queue.Retraining, **tags: str) -> int:
    """A version that the retraining registered and left."""
    version = training_context.catalog.register("bars", "", "run-9", {RETRAINING_TAG: row.id, **tags})
    training_context.catalog.set_alias("bars", "challenger", version)
    return version


def abandoned(training_context: Shop) -> retraining_queue.Retraining:
    row = claimed(training_context.context)
    with training_context.context.database.write() as connection:
        retraining_queue.record_run(connection, row.id, "me", "run-9")
        retraining_endings.requeue_interrupted(connection, row.id, "me", training_context.context.clock())
    return now_of(training_context.context, row)


def withdrawn(training_context: Shop, row: retraining_queue.Retraining) -> list[int]:
    """The versions of a retraining that the watcher takes back."""
    context = training_context.context
    return withdraw_versions(context.database, context.catalog, row, "watcher", context.clock())


def test_of_an_abandoned_retraining_nothing_stays_that_its_rerun_makes_again(training_context: Shop) -> None:
    row = abandoned(training_context)
    version = made_by(training_context, row)
    assert withdrawn(training_context, row) == [version]
    assert training_context.registered == ({1}, {})
    assert withdrawn(training_context, row) == []


def test_the_alias_goes_back_to_the_challenger_before_unless_that_serves(training_context: Shop) -> None:
    row = abandoned(training_context)
    made_by(training_context, row, **{PREVIOUS_CHALLENGER_TAG: "1"})
    withdrawn(training_context, row)
    assert training_context.registered == UNTOUCHED
    promotion_service(training_context.context).promote(PromotionRequest("bars", 1, None, "first", "ann", "r"))
    made_by(training_context, row, **{PREVIOUS_CHALLENGER_TAG: "1"})
    withdrawn(training_context, row)
    assert training_context.registered == ({1}, {"champion": 1})


def test_a_version_that_somebody_promoted_stays(training_context: Shop) -> None:
    row = abandoned(training_context)
    version = made_by(training_context, row)
    promotion_service(training_context.context).promote(
        PromotionRequest("bars", version, None, "first", "ann", "by hand")
    )
    assert withdrawn(training_context, row) == []
    assert version in training_context.catalog.held


def test_a_registry_that_is_away_is_asked_again_later(training_context: Shop) -> None:
    with_rules(training_context.context, RULES.replace("model: digits", "model: bars"))
    row = abandoned(training_context)
    made_by(training_context, row, **{PREVIOUS_CHALLENGER_TAG: "1"})

    def away() -> None:
        raise RegistryUnavailableError("MLflow is away")

    training_context.at("alias", away)
    with training_context.context.database.write() as connection:
        lease = leases.acquire(connection, "watcher:bars", "w", timedelta(hours=1), START)
        with_cancelled_rerun(connection)
    assert lease is not None
    retraining_supervisor(training_context.context).tick(lease)
    assert 2 in training_context.catalog.held
    retraining_supervisor(training_context.context).tick(lease)  # the next watcher
    assert training_context.registered == UNTOUCHED


def with_cancelled_rerun(connection: Any) -> None:  # noqa: ANN401
    queued = retraining_queue.find_queued(connection, "bars")
    assert queued is not None
    retraining_endings.cancel(connection, queued.id, "ann", START)


def test_whether_a_retraining_is_wanted_is_asked_afresh(training_context: Shop) -> None:
    row = claimed(training_context.context)
    heartbeat = heartbeat_of(training_context.context, row.id, "me")
    assert heartbeat.owns_retraining()
    assert not heartbeat_of(training_context.context, row.id, "somebody").owns_retraining()
    training_context.cancel(row)
    assert not heartbeat.owns_retraining()
    assert heartbeat.ownership_lost.is_set()


def test_what_is_promoted_cannot_be_cancelled_and_what_is_cancelled_cannot_be_promoted(training_context: Shop) -> None:
    row = claimed(training_context.context)
    change = PromotionRequest(
        "bars",
        1,
        None,
        "first",
        "retraining",
        "r",
        retraining_id=row.id,
        precondition=retraining_queue.ownership_check(row.id, "me"),
    )
    training_context.cancel(row)
    with pytest.raises(FencedError):
        promotion_service(training_context.context).promote(change)
    assert training_context.registered == UNTOUCHED
    other = claimed(training_context.context)
    promotion_service(training_context.context).promote(
        PromotionRequest(
            "bars",
            1,
            None,
            "first",
            "retraining",
            "r",
            retraining_id=other.id,
            precondition=retraining_queue.ownership_check(other.id, "me"),
        )
    )
    with pytest.raises(ConflictError, match="has promoted its candidate"):
        training_context.cancel(other)
