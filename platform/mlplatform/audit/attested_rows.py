"""Digests of the rows that audit entries vouch for: labels, promotions, API keys and quarantines.

Whoever verifies the log can check these rows as well. An entry names under `rows` what the rows it wrote look like
afterwards; of one row the newest entry counts. Rows from before there were such entries stand in a chain of their own
(`hash_chain.ROW_CHAIN`).
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

DIGESTED_COLUMNS: Final[Mapping[Table, tuple[str, ...]]] = {
    feedback: ("id", "prediction_id", "label", "source", "reviewer", "at", "received_at", "superseded_by", "feed"),
    promotions: (
        "seq", "model_name", "from_version", "to_version", "kind", "at", "actor", "reason", "retraining_id", "verdict",
        "fence",
    ),
    api_keys: ("id", "name", "digest", "scopes", "created_at", "created_by", "expires_at", "revoked_at"),
    quarantines: ("seq", "model_name", "version", "lifted", "at", "actor", "reason"),
}  # fmt: skip
"""The covered columns of each table, the key first. Left out: when a key was used, what MLflow was shown."""
LABEL_PREFIX: Final = f"{feedback.name}/"
BATCH_SIZE: Final = 500
"""Predictions whose labels one query reads."""


def api_key_digests(connection: Connection, key_id: str) -> dict[str, str]:
    """The name and digest of an API key as it is now, for the entry of the act that changed it."""
    return _row_digests(connection, api_keys, api_keys.c.id == key_id)


def promotion_digests(connection: Connection, seq: int) -> dict[str, str]:
    """The name and digest of a promotion, for its entry."""
    return _row_digests(connection, promotions, promotions.c.seq == seq)


def quarantine_digests(connection: Connection, model: str, version: int) -> dict[str, str]:
    """The names and digests of what was written about the quarantine of a version, for the entry of the act."""
    return _row_digests(
        connection, quarantines, (quarantines.c.model_name == model) & (quarantines.c.version == version)
    )


def label_digests(connection: Connection, labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """For each label, given with its prediction, the digests of the rows it wrote: its own, and those it superseded."""
    digests: dict[str, dict[str, str]] = {label: {} for label in labels}
    predictions = sorted(set(labels.values()))
    for start in range(0, len(predictions), BATCH_SIZE):
        condition = feedback.c.prediction_id.in_(predictions[start : start + BATCH_SIZE])
        for row in connection.execute(select(feedback).where(condition)):
            name, digest = row_digest(feedback, row._mapping)
            for label in {row.id, row.superseded_by} & digests.keys():
                digests[label][name] = digest
    return digests


def iter_row_digests(connection: Connection, table: Table) -> Iterator[tuple[str, str]]:
    """Each row of a table by key, in the order of its first column."""
    query = select(*(table.c[name] for name in DIGESTED_COLUMNS[table])).order_by(table.c[DIGESTED_COLUMNS[table][0]])
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        yield row_digest(table, row._mapping)


def row_digest(table: Table, row: Mapping[Any, Any]) -> tuple[str, str]:
    """The name of a row in an entry, and its digest. A label's name says its prediction, which may be erased."""
    columns = DIGESTED_COLUMNS[table]
    values = [
        hash_chain.canonical_time(row[name]) if isinstance(row[name], datetime) else row[name] for name in columns
    ]
    text = json.dumps([table.name, *values], sort_keys=True, separators=(",", ":"))
    name = f"{row['prediction_id']}/{row['id']}" if table is feedback else row[columns[0]]
    return f"{table.name}/{name}", sha256(text.encode()).hexdigest()[: hash_chain.ROW_DIGEST_LENGTH]


def _row_digests(connection: Connection, table: Table, condition: ColumnElement[bool]) -> dict[str, str]:
    query = select(*(table.c[name] for name in DIGESTED_COLUMNS[table])).where(condition)
    return dict(row_digest(table, row._mapping) for row in connection.execute(query))
