"""How far each checkpoint file was written, as the database remembers it, so that a file cut short is noticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from mlplatform.store.database import insert_into
from mlplatform.store.tables.audit import audit_checkpoint_files


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint file by its own name for itself; `digest` covers its first `lines` lines."""

    id: str
    path: str
    host: str
    lines: int
    digest: str
    at: datetime


def list_files(connection: Connection) -> list[CheckpointFile]:
    """Every file that was written, the newest last."""
    rows = connection.execute(
        select(audit_checkpoint_files).order_by(audit_checkpoint_files.c.at, audit_checkpoint_files.c.id)
    )
    return [CheckpointFile(**row._mapping) for row in rows]


def record_length(connection: Connection, file: CheckpointFile) -> None:
    """Remember how far a file was written; less than is known changes nothing."""
    values = vars(file)
    statement = insert_into(connection, audit_checkpoint_files).values(values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id"], set_=values, where=audit_checkpoint_files.c.lines < statement.excluded.lines
        )
    )


def update_path(connection: Connection, ids: Sequence[str], path: str) -> None:
    """Remember that files lie elsewhere now."""
    connection.execute(update(audit_checkpoint_files).where(audit_checkpoint_files.c.id.in_(ids)).values(path=path))
