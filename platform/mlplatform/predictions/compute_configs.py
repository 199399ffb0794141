"""Tuned compute configurations, one row per model and host class: the newest applies to every server of the class."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from mlplatform.store.tables.predictions import compute_configs


@dataclass(frozen=True)
class TunedConfig:
    """How servers of a host class compute a model's predictions, and the measurements before and after tuning."""

    model_name: str
    host_class: str
    at: datetime
    plan: dict[str, Any]
    measured: dict[str, Any]
    instance: str
    run_id: str = ""


def save(connection: Connection, config: TunedConfig) -> None:
    """Apply this configuration from now on, in place of an earlier one."""
    delete_config(connection, config.model_name, config.host_class)
    connection.execute(insert(compute_configs).values(**vars(config)))


def find(connection: Connection, model_name: str, host_class: str) -> TunedConfig | None:
    """The configuration that applies; None where nothing was tuned."""
    query = select(compute_configs).where(
        compute_configs.c.model_name == model_name, compute_configs.c.host_class == host_class
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else TunedConfig(**row._mapping)


def delete_config(connection: Connection, model_name: str, host_class: str) -> bool:
    """Go back to the settings; whether there was a tuned configuration."""
    key = (compute_configs.c.model_name == model_name) & (compute_configs.c.host_class == host_class)
    return connection.execute(delete(compute_configs).where(key)).rowcount > 0


def record_run(connection: Connection, config: TunedConfig, run_id: str) -> None:
    """Name the MLflow run that shows this tuning, unless another one applies by now."""
    key = (compute_configs.c.model_name == config.model_name) & (compute_configs.c.host_class == config.host_class)
    connection.execute(compute_configs.update().where(key, compute_configs.c.at == config.at).values(run_id=run_id))
