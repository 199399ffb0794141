"""Labels, promotions, keys and quarantines held against the entries of the audit log that vouch for them.

Rows of before there were such entries are held against a chain of their own. It mends nothing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, collate, select

from mlplatform.audit import attested_rows, hash_chain, prediction_attestation
from mlplatform.store.tables.audit import audit_log
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.promotion import promotions, quarantines

SMALL_TABLES: Final = (promotions, api_keys, quarantines)
BATCH_SIZE: Final = 500
ReportFault = Callable[[str], None]
RowDigests = dict[str, str]


def small_table_digests(details: Mapping[str, Any]) -> RowDigests:
    """What an entry says of the rows it wrote, without labels, of which there may be very many."""
    rows = details.get("rows")
    if not isinstance(rows, dict):
        return {}
    return {str(name): str(digest) for name, digest in rows.items() if not name.startswith(attested_rows.LABEL_PREFIX)}


def verify_rows(
    connection: Connection, logged_digests: RowDigests, erased: Collection[str], report_fault: ReportFault
) -> int:
    """Name rows that were changed, removed, or written by no act; returns how many rows were looked at.

    `vouched` are the small tables' rows by the log; labels of erased predictions may be gone.
    """
    expected = {
        name: digest for name, digest in _initial_rows(connection) if not name.startswith(attested_rows.LABEL_PREFIX)
    } | logged_digests
    actual = {
        name: digest for table in SMALL_TABLES for name, digest in attested_rows.iter_row_digests(connection, table)
    }
    _compare(expected, actual, report_fault)
    unknown = {name: digest for name, digest in actual.items() if name not in expected}
    count = len(actual)
    removed: set[str] = set()
    for prediction, labels, rows in _iter_labels(connection):
        count += len(rows)
        gone = _compare(labels, rows, lambda text: None if prediction in erased else report_fault(text))  # noqa: B023
        removed.update(gone)
        unknown |= {name: digest for name, digest in rows.items() if name not in labels}
    _verify_initial_labels(connection, unknown, removed, erased, report_fault)
    for name in unknown:
        report_fault(f"{name} was written by no act in the audit log")
    return count


def _compare(expected: RowDigests, actual: RowDigests, report_fault: ReportFault) -> list[str]:
    """Name what differs; returns the names of what is gone."""
    gone = []
    for name, digest in expected.items():
        if name not in actual:
            gone.append(name)
            report_fault(f"{name} was removed")
        elif actual[name] != digest:
            report_fault(f"{name} is not what was written")
    return gone


def _iter_labels(connection: Connection) -> Iterator[tuple[str, RowDigests, RowDigests]]:
    """Prediction by prediction: its labels as the log's entries say they are, and as they are."""
    subject = _byte_order(connection, audit_log.c.subject)
    query = select(audit_log.c.subject, audit_log.c.details)
    query = query.where(audit_log.c.action == "feedback", audit_log.c.number.is_not(None))
    entries = connection.execute(query.order_by(subject, audit_log.c.number), execution_options={"yield_per": 1000})
    held = connection.execute(
        select(feedback).order_by(_byte_order(connection, feedback.c.prediction_id), feedback.c.id),
        execution_options={"yield_per": 1000},
    )
    yield from _merge_sorted(
        ((row.subject.removeprefix("prediction/"), _label_digests(row.details)) for row in entries),
        ((row.prediction_id, dict([attested_rows.row_digest(feedback, row._mapping)])) for row in held),
    )


def _merge_sorted(
    entries: Iterable[tuple[str, RowDigests]], held: Iterable[tuple[str, RowDigests]]
) -> Iterator[tuple[str, RowDigests, RowDigests]]:
    """Two lists in the order of their first column, joined on it; of one name the last counts."""
    left, right = _group_by_key(entries), _group_by_key(held)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        key = min(each[0] for each in (one, other) if each is not None)
        expected, actual = {}, {}
        if one is not None and one[0] == key:
            expected, one = one[1], next(left, None)
        if other is not None and other[0] == key:
            actual, other = other[1], next(right, None)
        yield key, expected, actual


def _group_by_key(pairs: Iterable[tuple[str, RowDigests]]) -> Iterator[tuple[str, RowDigests]]:
    for key, group in groupby(pairs, key=lambda pair: pair[0]):
        rows: RowDigests = {}
        for _, each in group:
            rows |= each
        yield key, rows


def _label_digests(details: object) -> RowDigests:
    rows = details.get("rows") if isinstance(details, dict) else None
    return {str(name): str(digest) for name, digest in rows.items()} if isinstance(rows, dict) else {}


def _verify_initial_labels(
    connection: Connection,
    unknown: RowDigests,
    removed: Collection[str],
    erased: Collection[str],
    report_fault: ReportFault,
) -> None:
    """Hold labels that no entry vouches for against the chain of before, and take them out of `unknown`."""
    leaves = (
        (name, digest) for name, digest in _initial_rows(connection) if name.startswith(attested_rows.LABEL_PREFIX)
    )
    absent = []
    for name, digest in leaves:
        held = unknown.pop(name, None)
        if held is None:
            absent.append(name)
        elif held != digest:
            report_fault(f"{name} is not what was written")
    for start in range(0, len(absent), BATCH_SIZE):
        part = absent[start : start + BATCH_SIZE]
        query = select(feedback.c.id).where(feedback.c.id.in_([name.rpartition("/")[2] for name in part]))
        there = set(connection.scalars(query))  # an entry vouches for them by now
        for name in part:
            prediction, _, label = name.removeprefix(attested_rows.LABEL_PREFIX).rpartition("/")
            if label not in there and prediction not in erased and name not in removed:
                report_fault(f"{name} was removed")


def _initial_rows(connection: Connection) -> Iterator[tuple[str, str]]:
    for batch in prediction_attestation.iter_batches(connection, hash_chain.ROW_CHAIN):
        yield from batch.digests.items()


def _byte_order(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """The column in the order of its bytes, as Python compares texts."""
    return collate(column, "C") if connection.dialect.name == "postgresql" else column
