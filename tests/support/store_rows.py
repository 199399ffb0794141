"""Rows the store's tests begin with, and calls that happen at the same moment."""

import threading
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, func, select

from mlplatform.alerting import alert_records, evaluations
from mlplatform.audit.checkpoint_file import Checkpoint
from mlplatform.audit.checkpoint_verification import CheckpointIndex
from mlplatform.audit.verification import verify_with_checkpoints
from mlplatform.audit.verification_report import VerificationReport
from mlplatform.clock import utc_now
from mlplatform.ids import uuid7
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import inputs, predictions
from monitors.alerts import Alert, AlertState
from monitors.windows.window_counts import Outcome
from tests.support.platform_world import START

Result = TypeVar("Result")
NO_LIMITS = RetrainingLimits(cooldown=timedelta(0), daily_cap=1000)


def together(*calls: Callable[[], Result]) -> list[Result | Exception]:
    """Run the calls at once, a thread each; returns what each returned or raised, in their order."""
    barrier = threading.Barrier(len(calls))
    results: dict[int, Result | Exception] = {}

    def run(place: int, call: Callable[[], Result]) -> None:
        barrier.wait(timeout=10)
        try:
            results[place] = call()
        except Exception as error:  # noqa: BLE001 - what a thread raises is its result
            results[place] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return [results[place] for place in range(len(calls))]


def writing(database: Database, call: Callable[[Connection], Result]) -> Callable[[], Result]:
    """The call in a transaction of its own."""

    def run() -> Result:
        with database.write() as connection:
            return call(connection)

    return run


def evaluation(slot: datetime = START, *, rule: str = "accuracy-drop", state: str = "breach") -> evaluations.Evaluation:
    """An evaluation ready to be added."""
    return evaluations.Evaluation(
        id=uuid7(),
        rule=rule,
        slot=slot,
        at=slot + timedelta(seconds=1),
        model_name="digits",
        model_version=1,
        window_start=slot - timedelta(hours=1),
        window_end=slot,
        state=state,
        findings=[{"key": "", "state": state, "value": 0.125}],
        report=None,
        evaluated_by="host:1",
    )


def alert(rule: str = "accuracy-drop", *, key: str = "", version: int = 1, state: AlertState = "firing") -> Alert:
    """An alert that is not saved yet."""
    return Alert(
        id=uuid7(),
        rule=rule,
        key=key,
        model="digits",
        version=version,
        severity="critical",
        state=state,
        opened_at=START,
        since=START,
        value=0.5,
        threshold=0.005,
        n=200,
    )


def saved(database: Database, made: Alert | None = None) -> Alert:
    """An alert with the evaluation that opened it, in the store."""
    made = made or alert()
    judged = evaluation(rule=uuid7())
    with database.write() as connection:
        evaluations.add(connection, judged)
        alert_records.save(connection, made, "accuracy fell", judged.id)
    return made


def queued(database: Database, at: datetime = START, *, trigger: retraining_queue.RetrainingTrigger = "manual") -> str:
    """A retraining in the queue; returns its id."""
    with database.write() as connection:
        return retraining_queue.request(
            connection, pipeline="digits", reason="drift", trigger=trigger, requested_by="ada", now=at
        )[0]


def running(
    database: Database, owner: str, at: datetime = START, *, trigger: retraining_queue.RetrainingTrigger = "manual"
) -> str:
    """A retraining that runs; returns its id."""
    made = queued(database, at, trigger=trigger)
    with database.write() as connection:
        claimed = retraining_queue.claim(connection, "digits", owner, NO_LIMITS, at)
    assert claimed is not None
    assert claimed.id == made
    return made


def count_rows(connection: Connection) -> dict[str, int]:
    """How many predictions, images and current labels the store holds."""
    current = select(func.count()).select_from(feedback).where(feedback.c.superseded_by.is_(None))
    return {
        "predictions": connection.scalar(select(func.count()).select_from(predictions)) or 0,
        "images": connection.scalar(select(func.count()).select_from(inputs)) or 0,
        "labels": connection.scalar(current) or 0,
    }


def verify_audit_log(
    database: Database, checkpoints: Iterable[Checkpoint] = (), *, signed: bool = False, now: datetime | None = None
) -> VerificationReport:
    """Verify everything, in one snapshot. With `signed`, a checkpoint that no key authenticates is a fault."""
    index = CheckpointIndex()
    for checkpoint in checkpoints:
        index.add(checkpoint)
    return verify_with_checkpoints(database, index, signed=signed, now=now or utc_now())


def is_new_for(row: Outcome, sources: Collection[str], cursor: int) -> bool:
    """Whether a reader of these sources who has read up to a number may estimate by this answer and has not yet."""
    return (
        row.weight > 0
        and row.source in sources
        and all(number > cursor for source, number in row.source_sequence.items() if source in sources)
    )
