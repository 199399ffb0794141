"""The edge's workshop: settings in, the parts of a process out, built once and passed by name."""

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dotenv import dotenv_values

from mlplatform.clock import Clock, new_id, utc_now
from mlplatform.host.file_permissions import make_private
from mlplatform.host.log_setup import set_up_logging
from mlplatform.host.process_environment import provide
from mlplatform.host.telemetry_opt_out import leave_untracked
from mlplatform.network.proxies import without_proxy_for_this_host
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.timeouts import Patience
from monitors.rules.alerts_config import AlertsConfig, load_rules
from pipelines.discovery import find_family
from pipelines.pipeline import Family
from registry.catalog import Catalog
from registry.runs import Tracking


@dataclass(frozen=True)
class Parts:
    """What commands and servers are made of; each part is built when first asked for."""

    settings: Settings
    clock: Clock = utc_now
    answering: bool = False
    """Whether this process answers requests: they wait less long for the database than what works behind them."""

    @cached_property
    def instance(self) -> str:
        """This process among all processes: host, pid and a random end."""
        return f"{socket.gethostname()}:{os.getpid()}:{new_id()[-6:]}"

    @cached_property
    def database(self) -> Database:
        """The store, its tables created or upgraded."""
        visitors = self._patience(answering=True) if self.answering else self.patience
        database = Database(self.settings.store_url, visitors, self.patience if self.answering else None)
        database.upgrade()
        return database

    @property
    def patience(self) -> Patience:
        """How long work that nobody waits for may wait for the database."""
        return self._patience(answering=False)

    def _patience(self, *, answering: bool) -> Patience:
        settings = self.settings
        limits = (settings.statement_seconds, settings.long_statement_seconds, settings.lock_seconds)
        return Patience.of(*limits, answering=answering)

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow's runs."""
        return Tracking(self.settings.tracking_uri, self.settings.artifact_root)

    @cached_property
    def catalog(self) -> Catalog:
        """MLflow's registered versions."""
        return Catalog(self.tracking)

    @cached_property
    def family(self) -> Family:
        """The model family served, watched and retrained."""
        return find_family(self.settings.pipeline)

    @cached_property
    def rules(self) -> AlertsConfig:
        """alerts.yaml, checked, with `${NAME}` from the environment and `.env`."""
        return load_rules(self.settings.alerts_file, environment())

    @property
    def model_cache(self) -> Path:
        """Folder of downloaded model files."""
        return self.settings.home / "models"


def environment() -> Mapping[str, str]:
    """The process environment over the values of `.env`."""
    written = {key: value for key, value in dotenv_values(".env").items() if value is not None}
    return {**written, **os.environ}


def build(settings: Settings, *, answering: bool = False) -> Parts:
    """Prepare this process (quiet libraries, private files, logging) and hand out its parts."""
    make_private(settings)
    leave_untracked(os.environ)
    provide(os.environ, settings.home.resolve())
    own = (settings.host, settings.mlflow_host)
    os.environ.update(without_proxy_for_this_host(os.environ, own))
    set_up_logging(settings.log_level)
    for noisy in ("httpx", "alembic", "mlflow", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a slot that is still being judged is no news
    return Parts(settings, answering=answering)
