"""Two versions of a model and labelled pictures for the tests of probation; the versions answer as they are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.promotion import promotion_history
from mlplatform.promotion.probation_monitor import ProbationMonitor, probation_monitor
from mlplatform.promotion.probations import Probation, list_probations
from mlplatform.store import leases
from mlplatform.store.database import Database
from monitors.rules.alerts_config import Source
from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.data import images_of
from tests.support.monitoring_world import RULES, lease_of, promote, tick, with_rules
from tests.support.platform_world import FakeCatalog, prediction, recorded

WRITTEN = "probation: {period: 3d, false_rollbacks: 1 per 20 promotions}"
WITH_PROBATION = RULES.replace("channels:", f"{WRITTEN}\nchannels:")
FOR_EVER = timedelta(days=900)
_SEEDS = count(1)
Probabilities = NDArray[np.float32]


class Reads:
    """A version that reads the same class in every picture, and notes how many it was shown."""

    reader = ClassReader(tuple("0123456789"))

    def __init__(self, answer: str) -> None:
        self.answer, self.shown = answer, 0

    def __call__(self, batch: Batch) -> Probabilities:
        assert images_of(batch).shape[1:] == (28, 28)
        self.shown += len(batch)
        probabilities = np.full((len(batch), 10), 0.01, dtype=np.float32)
        probabilities[:, int(self.answer)] = 0.91
        return probabilities


class Killed(BaseException):
    """The process ends here."""


class Dying(Database):
    """The store of a process that is killed before its n-th use, or within that use before it commits."""

    def __init__(self, database: Database, left: int, *, committing: bool) -> None:
        self._inner, self._left, self._committing = database, left, committing

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self.use()
        with self._inner.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.use(committing=self._committing)
        with self._inner.write() as connection:
            yield connection
            if self._left <= 0:
                raise Killed

    def use(self, *, committing: bool = False) -> None:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not committing):
            raise Killed


class Watched(FakeCatalog):
    """A registry whose every call may be the last that a process makes."""

    def __init__(self, inner: FakeCatalog, database: Dying) -> None:
        super().__init__()
        self.held, self.pointers = inner.held, inner.pointers
        self._database = database

    def _ask(self) -> None:
        self._database.use()


def two_versions(context: AppContext, text: str = WITH_PROBATION) -> AppContext:
    """Version 1, and a minute later version 2, promoted."""
    promote(with_rules(context, text), 1)
    tick(context, minutes=1)
    promote(context, 2)
    tick(context, minutes=1)
    return context


def warden(context: AppContext, before: str = "3") -> ProbationMonitor:
    """A monitor for which the version before reads this class everywhere."""
    reads = Reads(before)
    return probation_monitor(context, lambda _version: reads)


def forever(context: AppContext) -> leases.Lease:
    """The leader's lease, for longer than any test."""
    return lease_of(context, life=FOR_EVER)


def label(
    context: AppContext, n: int, answer: str, *, truth: str = "3", source: Source = "audit", version: int = 2
) -> list[str]:
    """So many answers on pictures nobody has sent before, and their labels; the clock moves on by a second."""
    now = context.clock()
    ids = recorded(
        context.database,
        *(prediction(now, seed=next(_SEEDS), label=answer, version=version) for _ in range(n)),
    )
    give(context, ids, truth=truth, source=source)
    return ids


def give(context: AppContext, ids: list[str], *, truth: str = "3", source: Source = "audit") -> None:
    """Label these answers."""
    now = context.clock()
    with context.database.write() as connection:
        label_records.insert_labels(
            connection, [label_records.SubmittedLabel(key, truth, source, "someone", now) for key in ids], now
        )
    tick(context, seconds=1)


def history(context: AppContext) -> list[tuple[promotion_history.PromotionKind, int]]:
    """Every promotion's kind and version, oldest first."""
    with context.database.read() as connection:
        return [(each.kind, each.to_version) for each in promotion_history.promotion_history(connection, "digits")][
            ::-1
        ]


def the_probation(context: AppContext) -> Probation:
    """The newest probation."""
    with context.database.read() as connection:
        return list_probations(connection, "digits")[0]
