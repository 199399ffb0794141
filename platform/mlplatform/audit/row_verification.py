"""Checks labels, promotions, API keys and quarantines against the audit entries that vouch for them.

Rows from before there were such entries are checked against a chain of their own.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, collate, select

from mlplatform.audit import attested_rows, hash_chain, prediction_attestation
from mlplatform.audit.verification_report import BATCH_SIZE, ReportFault
from mlplatform.store.tables.audit import audit_log
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.promotion import promotions, quarantines

SMALL_TABLES: Final = (promotions, api_keys, quarantines)
RowDigests = dict[str, str]
"""Digests by the names that audit entries call rows by."""


def small_table_digests(details: Mapping[str, Any]) -> RowDigests:
    """The digests of the rows an entry wrote, without labels, of which there may be very many."""
    rows = details.get("rows")
    if not isinstance(rows, dict):
        return {}
    return {str(name): str(digest) for name, digest in rows.items() if not name.startswith(attested_rows.LABEL_PREFIX)}


def verify_rows(
    connection: Connection, logged_digests: RowDigests, erased: Collection[str], report_fault: ReportFault
) -> int:
    """Report rows that were changed, removed, or written by no act; returns how many rows were checked.

    `logged_digests` are the rows of the small tables as the log has them; labels of erased predictions may be gone.
    """
    # 1. The small tables, held in memory as a whole.
    expected = {
        name: digest for name, digest in _initial_rows(connection) if not name.startswith(attested_rows.LABEL_PREFIX)
    } | logged_digests
    actual = {
        name: digest for table in SMALL_TABLES for name, digest in attested_rows.iter_row_digests(connection, table)
    }
    _compare(expected, actual, report_fault)
    unknown = {name: digest for name, digest in actual.items() if name not in expected}

    # 2. Labels, prediction by prediction.
    count = len(actual)
    removed: set[str] = set()
    for prediction, labels, rows in _iter_labels(connection):
        count += len(rows)
        removed.update(_compare(labels, rows, (lambda _: None) if prediction in erased else report_fault))
        unknown |= {name: digest for name, digest in rows.items() if name not in labels}

    # 3. What no entry vouches for is from before there were entries, or was written past the platform.
    _verify_initial_labels(connection, unknown, removed, erased, report_fault)
    for name in unknown:
        report_fault(f"{name} was written by no act in the audit log")
    return count


def _compare(expected: RowDigests, actual: RowDigests, report_fault: ReportFault) -> list[str]:
    """Report what differs; returns the names of the rows that are gone."""
    missing = []
    for name, digest in expected.items():
        if name not in actual:
            missing.append(name)
            report_fault(f"{name} was removed")
        elif actual[name] != digest:
            report_fault(f"{name} is not what was written")
    return missing


def _iter_labels(connection: Connection) -> Iterator[tuple[str, RowDigests, RowDigests]]:
    """Prediction by prediction: its labels as the log's entries say they are, and as they are."""
    subject = _byte_order(connection, audit_log.c.subject)
    query = select(audit_log.c.subject, audit_log.c.details)
    query = query.where(audit_log.c.action == "feedback", audit_log.c.number.is_not(None))
    entries = connection.execute(query.order_by(subject, audit_log.c.number), execution_options={"yield_per": 1000})
    rows = connection.execute(
        select(feedback).order_by(_byte_order(connection, feedback.c.prediction_id), feedback.c.id),
        execution_options={"yield_per": 1000},
    )
    yield from _merge_sorted(
        ((row.subject.removeprefix("prediction/"), _label_digests(row.details)) for row in entries),
        ((row.prediction_id, dict([attested_rows.row_digest(feedback, row._mapping)])) for row in rows),
    )


def _merge_sorted(
    entries: Iterable[tuple[str, RowDigests]], rows: Iterable[tuple[str, RowDigests]]
) -> Iterator[tuple[str, RowDigests, RowDigests]]:
    """Two lists in the order of their first column, joined on it; of one name the last counts."""
    entry_groups, row_groups = _group_by_key(entries), _group_by_key(rows)
    entry, row = next(entry_groups, None), next(row_groups, None)
    while entry is not None or row is not None:
        key = min(group[0] for group in (entry, row) if group is not None)
        expected, actual = {}, {}
        if entry is not None and entry[0] == key:
            expected, entry = entry[1], next(entry_groups, None)
        if row is not None and row[0] == key:
            actual, row = row[1], next(row_groups, None)
        yield key, expected, actual


def _group_by_key(pairs: Iterable[tuple[str, RowDigests]]) -> Iterator[tuple[str, RowDigests]]:
    for key, group in groupby(pairs, key=lambda pair: pair[0]):
        rows: RowDigests = {}
        for _, digests in group:
            rows |= digests
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
    """Check labels that no entry vouches for against the chain of before, and take them out of `unknown`."""
    initial_labels = (
        (name, digest) for name, digest in _initial_rows(connection) if name.startswith(attested_rows.LABEL_PREFIX)
    )
    absent = []
    for name, digest in initial_labels:
        actual = unknown.pop(name, None)
        if actual is None:
            absent.append(name)
        elif actual != digest:
            report_fault(f"{name} is not what was written")
    for start in range(0, len(absent), BATCH_SIZE):
        part = absent[start : start + BATCH_SIZE]
        query = select(feedback.c.id).where(feedback.c.id.in_([name.rpartition("/")[2] for name in part]))
        present = set(connection.scalars(query))  # an entry vouches for them by now
        for name in part:
            prediction, _, label = name.removeprefix(attested_rows.LABEL_PREFIX).rpartition("/")
            if label not in present and prediction not in erased and name not in removed:
                report_fault(f"{name} was removed")


def _initial_rows(connection: Connection) -> Iterator[tuple[str, str]]:
    for batch in prediction_attestation.iter_batches(connection, hash_chain.ROW_CHAIN):
        yield from batch.digests.items()


def _byte_order(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """The column in the order of its bytes, as Python compares texts."""
    return collate(column, "C") if connection.dialect.name == "postgresql" else column
