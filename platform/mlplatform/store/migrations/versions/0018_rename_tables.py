"""Tables under the terms of the field, with their indexes and constraints; and the counter of each model's outcomes.

No table renamed here is referenced by another one, none has a sequence, and none of these names is hashed into the
audit log. PostgreSQL renames in place. SQLite can rename neither an index nor a constraint, so each table is copied.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

RENAMED = {
    "judged": "outcomes",
    "counters": "sequence_counters",
    "label_sums": "label_count_rollups",
    "tallies": "prediction_counts",
    "tally_sums": "prediction_count_rollups",
    "plans": "sampling_plans",
    "audits": "review_samples",
    "detectors": "detector_states",
    "trials": "rollouts",
    "shadow_answers": "shadow_predictions",
    "tunings": "compute_configs",
    "audit_chains": "hash_chain_heads",
    "audit_batches": "prediction_attestations",
    "audit_anchor_files": "audit_checkpoint_files",
    "waiting_labels": "pending_labels",
    "feedback_keys": "feedback_idempotency_keys",
    "alert_changes": "alert_transitions",
}


def upgrade() -> None:
    connection = op.get_bind()
    rename = _copy_on_sqlite if connection.dialect.name == "sqlite" else _rename_on_postgresql
    for old, new in RENAMED.items():
        rename(connection, old, new)
    op.execute(
        "UPDATE sequence_counters SET name = 'outcomes:' || substr(name, length('judged:') + 1) "
        "WHERE name LIKE 'judged:%'"
    )


def _renamed(text: str, old: str, new: str) -> str:
    """The text with the old table's name in the names of indexes and constraints replaced by the new one."""
    return re.sub(rf"\b(pk|fk|uq|ix)_{old}(?=_|\b)", rf"\g<1>_{new}", text)


def _copy_on_sqlite(connection: sa.Connection, old: str, new: str) -> None:
    # Read what made the table and its indexes; indexes that SQLite makes by itself have no text.
    query = sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = :old AND sql IS NOT NULL").bindparams(old=old)
    statements = [(row.type, _renamed(row.sql, old, new)) for row in connection.execute(query)]
    [create_table] = [sql for kind, sql in statements if kind == "table"]
    create_indexes = [sql for kind, sql in statements if kind == "index"]

    # Make the new table, copy every row, and drop the old one with its indexes before theirs are made anew.
    head, body = create_table.split("(", 1)
    head = re.sub(rf"\b{old}\b", new, head)
    connection.exec_driver_sql(f"{head}({body}")
    connection.exec_driver_sql(f"INSERT INTO {new} SELECT * FROM {old}")  # noqa: S608 - names of this file
    connection.exec_driver_sql(f"DROP TABLE {old}")
    for sql in create_indexes:
        connection.exec_driver_sql(re.sub(rf"\bON \"?{old}\"?", f"ON {new}", sql, count=1))


def _rename_on_postgresql(connection: sa.Connection, old: str, new: str) -> None:
    op.rename_table(old, new)
    # A constraint's index is renamed with it.
    constraints = sa.text("SELECT conname FROM pg_constraint WHERE conrelid = CAST(:new AS regclass)")
    for name in connection.scalars(constraints.bindparams(new=new)).all():
        changed = re.sub(rf"^{old}_", f"{new}_", _renamed(name, old, new))  # PostgreSQL 18 names NOT NULL by the table
        if changed != name:
            connection.exec_driver_sql(f'ALTER TABLE "{new}" RENAME CONSTRAINT "{name}" TO "{changed}"')
    indexes = sa.text(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = CAST(:new AS regclass)"
    )
    for name in connection.scalars(indexes.bindparams(new=new)).all():
        if (changed := _renamed(name, old, new)) != name:
            connection.exec_driver_sql(f'ALTER INDEX "{name}" RENAME TO "{changed}"')
