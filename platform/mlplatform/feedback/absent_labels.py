"""Gives answers that got no label in time the one that alerts.yaml says their silence means.

Where the truth is an event, such as a customer who leaves, nobody tells that it did not happen. Any label that comes
later takes the place of such a one.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.errors import SettingsError
from mlplatform.feedback.label_ingestion import record_absent_labels
from mlplatform.feedback.label_records import ABSENT_REVIEWER, SubmittedLabel
from mlplatform.predictions.prediction_ids import MAX_RECORDING_DELAY
from mlplatform.store.database import insert_into
from mlplatform.store.tables.feedback import feedback, sequence_counters
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.timeouts import long_statements
from monitors.rules.absent_label import AbsentLabel

BATCH_SIZE: Final = 200
"""Labels of one transaction."""
LOOK_BACK_EVERY: Final = timedelta(days=1)
"""So often answers are looked for that were recorded after their time had been passed."""
_MICROSECOND: Final = timedelta(microseconds=1)


def write_absent_labels(
    context: AppContext,
    absent: AbsentLabel | None,
    verify_lease: Callable[[Connection], object] = lambda _: None,
    may_go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Write the labels that are due; returns how many. Raises SettingsError for a label that is no class.

    Each batch is a transaction of its own, in which `verify_lease` is called. Done twice, or broken off and begun
    again, it writes the same: an answer with any label gets none, and all are dated by their answer.
    """
    if absent is None:
        return 0
    model, now = context.model_name, context.clock()
    with context.database.read() as connection:
        rules = context.contracts.label_rules(connection, model)
        if rules.canonical(absent.label) != absent.label:
            raise SettingsError(
                f"absent: the label {absent.label!r} in {context.settings.alerts_file} is no class of {model}; known: "
                f"{rules.hint}"
            )
        newest_by_version = dict(_versions(connection, model))
        position, looked_back = _moment(connection, _position_name(model)), _moment(connection, _look_back_name(model))
    until = now - absent.after
    looks_back = not looked_back <= now < looked_back + LOOK_BACK_EVERY
    since = min(position, until)  # a clock that was ahead may have passed what was still to be answered
    if looks_back:
        since = min(since, min(looked_back, now) - max(MAX_RECORDING_DELAY, absent.after))
    written = 0
    for version in newest_by_version:
        after = (since, "")
        while may_go_on():
            with long_statements(), context.database.read() as connection:
                due = _unlabelled(connection, model, version, after, until)
            if not due:
                break
            labels = [
                SubmittedLabel(prediction_id, absent.label, "delayed", ABSENT_REVIEWER, at + absent.after)
                for at, prediction_id in due
            ]
            written += record_absent_labels(context, labels, verify_lease)
            after = due[-1]
    if may_go_on():
        with context.database.write() as connection:
            verify_lease(connection)
            if newest_by_version:
                _set_moment(connection, _position_name(model), min(until, max(newest_by_version.values())))
            if looks_back:
                _set_moment(connection, _look_back_name(model), now)
    return written


def known_until(connection: Connection, model: str, absent: AbsentLabel, now: datetime) -> datetime:
    """Up to which answers all have their delayed labels: old enough, and looked at by `write_absent_labels`.

    Before its first look that is the beginning of time.
    """
    return min(now - absent.mature, _moment(connection, _position_name(model)))


def _unlabelled(
    connection: Connection, model: str, version: int, after: tuple[datetime, str], until: datetime
) -> list[tuple[datetime, str]]:
    """The next answers of a version without any label, in the order of their times."""
    at, prediction_id = after
    labelled = select(feedback.c.id).where(feedback.c.prediction_id == predictions.c.id).exists()
    query = (
        select(predictions.c.at, predictions.c.id)
        .where(
            predictions.c.model_name == model,
            predictions.c.model_version == version,
            predictions.c.at >= at,
            (predictions.c.at > at) | (predictions.c.id > prediction_id),
            predictions.c.at <= until,
            ~labelled,
        )
        .order_by(predictions.c.at, predictions.c.id)
        .limit(BATCH_SIZE)
    )
    return [(row.at, row.id) for row in connection.execute(query)]


def _versions(connection: Connection, model: str) -> Iterator[tuple[int, datetime]]:
    """The versions that have answered with the time of their newest answer, one step in the index each."""
    newest = -1
    while True:
        query = select(func.min(predictions.c.model_version)).where(
            predictions.c.model_name == model, predictions.c.model_version > newest
        )
        found = connection.scalar(query)
        if found is None:
            return
        newest = int(found)
        at = select(func.max(predictions.c.at)).where(
            predictions.c.model_name == model, predictions.c.model_version == newest
        )
        yield newest, connection.scalars(at).one()


def _position_name(model: str) -> str:
    """The counter of up to which answers all were looked at."""
    return f"absent-labels:{model}"


def _look_back_name(model: str) -> str:
    """The counter of when answers that were recorded late were looked for last."""
    return f"absent-labels-look-back:{model}"


def _moment(connection: Connection, counter: str) -> datetime:
    """The moment that a counter keeps; the beginning of time where it keeps none."""
    query = select(sequence_counters.c.value).where(sequence_counters.c.name == counter)
    return EPOCH + (connection.scalar(query) or 0) * _MICROSECOND


def _set_moment(connection: Connection, counter: str, moment: datetime) -> None:
    value = (moment - EPOCH) // _MICROSECOND
    statement = insert_into(connection, sequence_counters).values(name=counter, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
