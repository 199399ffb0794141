"""The audit log in a chain of hashes, and predictions in batches with their digests.

Entries from before are chained as they are found; how many predictions are older than the first batch is noted.
"""

import json
from datetime import UTC, datetime
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0012"
down_revision = "0011"

LOG = sa.table(
    "audit_log",
    sa.column("seq", sa.Integer),
    sa.column("at", UtcDateTime),
    sa.column("actor", sa.Text),
    sa.column("action", sa.Text),
    sa.column("subject", sa.Text),
    sa.column("details", sa.JSON),
    sa.column("number", sa.BigInteger),
    sa.column("hash", sa.String),
)
CHAINS = sa.table(
    "audit_chains",
    sa.column("name", sa.String),
    sa.column("number", sa.BigInteger),
    sa.column("hash", sa.String),
    sa.column("at", UtcDateTime),
)


def upgrade() -> None:
    op.create_table(
        "audit_chains",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_audit_chains")),
    )
    op.create_table(
        "audit_batches",
        sa.Column("chain", sa.String(length=200), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("oldest", UtcDateTime(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("chain", "number", name=op.f("pk_audit_batches")),
    )
    op.create_index("ix_audit_batches_at", "audit_batches", ["at"])
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.add_column(sa.Column("number", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("hash", sa.String(length=64), nullable=True))
        batch_op.create_unique_constraint(op.f("uq_audit_log_number"), ["number"])
        batch_op.create_index("ix_audit_log_subject", ["subject", "seq"])
    _chain_what_is_there()


def _chain_what_is_there() -> None:
    connection, now = op.get_bind(), datetime.now(UTC)
    older = connection.scalar(sa.text("SELECT count(*) FROM predictions")) or 0
    if older:
        entry = {"at": now, "actor": "migration", "action": "begin-chain", "subject": "chain/log"}
        connection.execute(LOG.insert().values(**entry, details={"predictions": older}))
    number, previous = 0, sha256(b"mlplatform audit chain log").hexdigest()
    seqs = list(connection.scalars(sa.select(LOG.c.seq).order_by(LOG.c.seq)))
    for seq in seqs:
        row = connection.execute(sa.select(LOG).where(LOG.c.seq == seq)).one()
        number += 1
        at = row.at.astimezone(UTC).isoformat(timespec="microseconds")
        content = [number, at, row.actor, row.action, row.subject, row.details]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        previous = sha256(f"{previous}\n{text}".encode()).hexdigest()
        connection.execute(LOG.update().where(LOG.c.seq == seq).values(number=number, hash=previous))
    if number:
        connection.execute(CHAINS.insert().values(name="log", number=number, hash=previous, at=now))
