"""Digests of rows that entries of the audit log vouch for, so that whoever verifies the log can check the rows as well.

An entry names under `rows` what the rows it wrote look like afterwards; of one row the newest entry counts. Rows from
before there were such entries stand in a chain of their own (`chains.ROWS`). It verifies nothing.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, select

from mlplatform.audit import hash_chain
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.promotion import promotions, quarantines

DIGEST_LENGTH: Final = 32
DIGESTED_COLUMNS: Final[Mapping[Table, tuple[str, ...]]] = {
    feedback: ("id", "prediction_id", "label", "source", "reviewer", "at", "received_at", "superseded_by", "feed"),
    promotions: (
        "seq", "model_name", "from_version", "to_version", "kind", "at", "actor", "reason", "retraining_id", "verdict",
        "fence",
    ),
    api_keys: ("id", "name", "digest", "scopes", "created_at", "created_by", "expires_at", "revoked_at"),
    quarantines: ("seq", "model_name", "version", "lifted", "at", "actor", "reason"),
}  # fmt: skip
"""What is covered of each table; the first column is the key. Left out: when a key was used, what MLflow was shown."""
LABEL_PREFIX: Final = f"{feedback.name}/"
BATCH_SIZE: Final = 500


def api_key_digests(connection: Connection, key_id: str) -> dict[str, str]:
    """An API key as it is now, as an entry names it."""
    return _row_digests(connection, api_keys, api_keys.c.id == key_id)


def promotion_digests(connection: Connection, seq: int) -> dict[str, str]:
    """A promotion, as an entry names it."""
    return _row_digests(connection, promotions, promotions.c.seq == seq)


def quarantine_digests(connection: Connection, model: str, version: int) -> dict[str, str]:
    """What was written about the quarantine of a version, as an entry names it."""
    return _row_digests(
        connection, quarantines, (quarantines.c.model_name == model) & (quarantines.c.version == version)
    )


def label_digests(connection: Connection, labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """For each label, given with its prediction, the rows that taking it wrote: its own, and those it superseded."""
    written: dict[str, dict[str, str]] = {key: {} for key in labels}
    predictions = sorted(set(labels.values()))
    for start in range(0, len(predictions), BATCH_SIZE):
        condition = feedback.c.prediction_id.in_(predictions[start : start + BATCH_SIZE])
        for row in connection.execute(select(feedback).where(condition)):
            name, digest = row_digest(feedback, row._mapping)
            for label in {row.id, row.superseded_by} & written.keys():
                written[label][name] = digest
    return written


def iter_row_digests(connection: Connection, table: Table) -> Iterator[tuple[str, str]]:
    """Each row of a table by key, in the order of its first column."""
    query = select(*(table.c[name] for name in DIGESTED_COLUMNS[table])).order_by(table.c[DIGESTED_COLUMNS[table][0]])
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        yield row_digest(table, row._mapping)


def row_digest(table: Table, row: Mapping[Any, Any]) -> tuple[str, str]:
    """What a row is called in an entry, and its digest. A label's name tells its prediction, which may be erased."""
    columns = DIGESTED_COLUMNS[table]
    values = [
        hash_chain.canonical_time(row[name]) if isinstance(row[name], datetime) else row[name] for name in columns
    ]
    text = json.dumps([table.name, *values], sort_keys=True, separators=(",", ":"))
    name = f"{row['prediction_id']}/{row['id']}" if table is feedback else row[columns[0]]
    return f"{table.name}/{name}", sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _row_digests(connection: Connection, table: Table, condition: ColumnElement[bool]) -> dict[str, str]:
    query = select(*(table.c[name] for name in DIGESTED_COLUMNS[table])).where(condition)
    return dict(row_digest(table, row._mapping) for row in connection.execute(query))
