"""Labels, promotions, keys and quarantines of before, with their digests in a chain; and which anchors were written.

From here on the entries of the audit log name the digests of the rows they wrote.
"""

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0017"
down_revision = "0016"

CHAIN = "rows"
PER_BATCH = 1000
COVERED = {
    "feedback": "id prediction_id label source reviewer *at *received_at superseded_by feed",
    "promotions": "seq model_name from_version to_version kind *at actor reason retraining_id +verdict fence",
    "api_keys": "id name digest +scopes *created_at created_by *expires_at *revoked_at",
    "quarantines": "seq model_name version -lifted *at actor reason",
}
"""A star marks a time, a plus JSON, a minus a truth value."""
TYPES = {"*": UtcDateTime, "+": sa.JSON, "-": sa.Boolean}
CHAINS = sa.table(
    "audit_chains", sa.column("name"), sa.column("number"), sa.column("hash"), sa.column("at", UtcDateTime)
)
BATCHES = sa.table(
    "audit_batches",
    *(sa.column(name) for name in ("chain", "number", "answers", "hash")),
    *(sa.column(name, UtcDateTime) for name in ("at", "oldest")),
    sa.column("leaves", sa.LargeBinary),
)
LOG = sa.table(
    "audit_log",
    *(sa.column(name) for name in ("actor", "action", "subject", "number", "hash")),
    sa.column("at", UtcDateTime),
    sa.column("details", sa.JSON),
)


def upgrade() -> None:
    op.create_table(
        "audit_anchor_files",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_anchor_files")),
    )
    _chain_what_is_there()


def _chain_what_is_there() -> None:
    connection, now = op.get_bind(), datetime.now(UTC)
    number, previous = 0, sha256(f"mlplatform audit chain {CHAIN}".encode()).hexdigest()
    batch: list[tuple[str, str]] = []

    def close() -> None:
        nonlocal number, previous
        number += 1
        leaves = orjson.dumps(batch)
        previous = _link(previous, [number, _moment(now), _moment(now), sha256(leaves).hexdigest()])
        row = {"chain": CHAIN, "number": number, "at": now, "oldest": now, "answers": len(batch), "hash": previous}
        connection.execute(BATCHES.insert().values(**row, leaves=zlib.compress(leaves, 1)))
        batch.clear()

    for leaf in _leaves(connection):
        batch.append(leaf)
        if len(batch) == PER_BATCH:
            close()
    if batch:
        close()
    if number:
        connection.execute(CHAINS.insert().values(name=CHAIN, number=number, hash=previous, at=now))
        _note_birth(connection, now)


def _leaves(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    for name, listed in COVERED.items():
        marks = {column.lstrip("*+-"): column[0] for column in listed.split()}
        columns: list[sa.ColumnClause[Any]] = [sa.column(column, TYPES.get(mark)) for column, mark in marks.items()]
        key, after = columns[0], None
        while True:
            query = sa.select(*columns).select_from(sa.table(name)).order_by(key).limit(PER_BATCH)
            rows = list(connection.execute(query if after is None else query.where(key > after)))
            for row in rows:
                after = row[0]
                values = [_moment(value) if isinstance(value, datetime) else value for value in row]
                text = json.dumps([name, *values], sort_keys=True, separators=(",", ":"))
                label = f"{row.prediction_id}/{row.id}" if name == "feedback" else row[0]
                yield f"{name}/{label}", sha256(text.encode()).hexdigest()[:32]
            if len(rows) < PER_BATCH:
                break


def _note_birth(connection: sa.Connection, now: datetime) -> None:
    head = connection.execute(sa.select(CHAINS.c.number, CHAINS.c.hash).where(CHAINS.c.name == "log")).one_or_none()
    number, previous = (0, sha256(b"mlplatform audit chain log").hexdigest()) if head is None else tuple(head)
    actor, action, subject = "migration", "open-chain", f"chain/{CHAIN}"
    hashed = _link(previous, [number + 1, _moment(now), actor, action, subject, {}])
    entry = {"at": now, "actor": actor, "action": action, "subject": subject, "details": {}}
    connection.execute(LOG.insert().values(**entry, number=number + 1, hash=hashed))
    moved = {"number": number + 1, "hash": hashed, "at": now}
    if head is None:
        connection.execute(CHAINS.insert().values(name="log", **moved))
    else:
        connection.execute(CHAINS.update().where(CHAINS.c.name == "log").values(**moved))


def _link(previous: str, content: list[object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(f"{previous}\n{text}".encode()).hexdigest()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
