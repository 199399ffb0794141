"""The edge's workshop: settings in, the parts of a process out, built once and passed by name."""

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dotenv import dotenv_values

from mlplatform.clock import Clock, utc_now, uuid7
from mlplatform.host.file_permissions import restrict_permissions
from mlplatform.host.log_setup import set_up_logging
from mlplatform.host.process_environment import fill_environment
from mlplatform.host.telemetry_opt_out import disable_telemetry
from mlplatform.network.proxies import no_proxy_variables
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.timeouts import DatabaseTimeouts
from monitors.rules.alerts_config import AlertsConfig, load_rules
from pipelines.discovery import find_pipeline
from pipelines.pipeline import Pipeline
from registry.catalog import Catalog
from registry.runs import TrackingStore


@dataclass(frozen=True)
class AppContext:
    """What commands and servers are made of; each part is built when first asked for."""

    settings: Settings
    clock: Clock = utc_now
    serves_requests: bool = False
    """Whether this process answers requests: they wait less long for the database than what works behind them."""

    @cached_property
    def instance(self) -> str:
        """This process among all processes: host, pid and a random end."""
        return f"{socket.gethostname()}:{os.getpid()}:{uuid7()[-6:]}"

    @cached_property
    def database(self) -> Database:
        """The store, its tables created or upgraded."""
        visitors = self._patience(serves_requests=True) if self.serves_requests else self.patience
        database = Database(self.settings.store_url, visitors, self.patience if self.serves_requests else None)
        database.upgrade()
        return database

    @property
    def patience(self) -> DatabaseTimeouts:
        """How long work that nobody waits for may wait for the database."""
        return self._patience(serves_requests=False)

    def _patience(self, *, serves_requests: bool) -> DatabaseTimeouts:
        settings = self.settings
        limits = (settings.statement_seconds, settings.long_statement_seconds, settings.lock_seconds)
        return DatabaseTimeouts.from_settings(*limits, in_request=serves_requests)

    @cached_property
    def tracking(self) -> TrackingStore:
        """MLflow's runs."""
        return TrackingStore(self.settings.tracking_uri, self.settings.artifact_root)

    @cached_property
    def catalog(self) -> Catalog:
        """MLflow's registered versions."""
        return Catalog(self.tracking)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The model family served, watched and retrained."""
        return find_pipeline(self.settings.pipeline)

    @cached_property
    def rules(self) -> AlertsConfig:
        """alerts.yaml, checked, with `${NAME}` from the environment and `.env`."""
        return load_rules(self.settings.alerts_file, load_environment())

    @property
    def model_cache(self) -> Path:
        """Folder of downloaded model files."""
        return self.settings.home / "models"


def load_environment() -> Mapping[str, str]:
    """The process environment over the values of `.env`."""
    written = {key: value for key, value in dotenv_values(".env").items() if value is not None}
    return {**written, **os.environ}


def create_context(settings: Settings, *, serves_requests: bool = False) -> AppContext:
    """Prepare this process (quiet libraries, private files, logging) and hand out its parts."""
    restrict_permissions(settings)
    disable_telemetry(os.environ)
    fill_environment(os.environ, settings.home.resolve())
    own = (settings.host, settings.mlflow_host)
    os.environ.update(no_proxy_variables(os.environ, own))
    set_up_logging(settings.log_level)
    for noisy in ("httpx", "alembic", "mlflow", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a slot that is still being judged is no news
    return AppContext(settings, serves_requests=serves_requests)
