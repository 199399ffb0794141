"""What tuning found, one row per model and host class: the newest holds for every server of the class."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from mlplatform.store.tables.serving import tunings


@dataclass(frozen=True)
class Tuning:
    """How servers of a class compute a model's answers, and the measurements before and after."""

    model_name: str
    host_class: str
    at: datetime
    plan: dict[str, Any]
    measured: dict[str, Any]
    instance: str
    run_id: str = ""


def keep(connection: Connection, tuning: Tuning) -> None:
    """Let this tuning hold from now on, in the place of an earlier one."""
    forget(connection, tuning.model_name, tuning.host_class)
    connection.execute(insert(tunings).values(**vars(tuning)))


def find(connection: Connection, model_name: str, host_class: str) -> Tuning | None:
    """The tuning that holds; None where nothing was tuned."""
    query = select(tunings).where(tunings.c.model_name == model_name, tunings.c.host_class == host_class)
    row = connection.execute(query).one_or_none()
    return None if row is None else Tuning(**row._mapping)


def forget(connection: Connection, model_name: str, host_class: str) -> bool:
    """Go back to the settings; whether there was anything to forget."""
    key = (tunings.c.model_name == model_name) & (tunings.c.host_class == host_class)
    return connection.execute(delete(tunings).where(key)).rowcount > 0


def note_run(connection: Connection, tuning: Tuning, run_id: str) -> None:
    """Name the MLflow run that shows this tuning, unless another one holds by now."""
    key = (tunings.c.model_name == tuning.model_name) & (tunings.c.host_class == tuning.host_class)
    connection.execute(tunings.update().where(key, tunings.c.at == tuning.at).values(run_id=run_id))
