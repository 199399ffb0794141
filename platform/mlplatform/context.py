"""What a process is wired from: settings, clock, database, registry and rules, built once and passed on.

A training finds its pipeline itself (`retraining.training_pipeline`): no other process imports a pipeline's code.
"""

import logging
import os
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, TypedDict, Unpack

from dotenv import dotenv_values

from mlplatform.clock import Clock, utc_now
from mlplatform.host.file_permissions import restrict_permissions
from mlplatform.host.log_setup import set_up_logging
from mlplatform.host.process_environment import fill_environment
from mlplatform.host.telemetry_opt_out import disable_telemetry
from mlplatform.ids import uuid7
from mlplatform.network.proxies import no_proxy_variables
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.timeouts import DatabaseTimeouts
from mlplatform.store.version_contracts import VersionContracts
from monitors.rules.alerts_config import AlertsConfig, load_rules
from registry.catalog import Catalog
from registry.runs import TrackingStore


class ContextParts(TypedDict, total=False):
    """What may be given to a context instead of being built from the settings."""

    instance: str
    database: Database
    tracking: TrackingStore
    catalog: Catalog
    contracts: VersionContracts
    rules: AlertsConfig


class AppContext:
    """Settings, clock, database, registry and rules of a process; each is built when first asked for.

    `serves_requests` tells that this process answers requests: they wait less long for the database than what works
    behind them. What is given as one of `parts` is used as it is.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock = utc_now,
        *,
        serves_requests: bool = False,
        **parts: Unpack[ContextParts],
    ) -> None:
        unknown = parts.keys() - ContextParts.__annotations__.keys()
        if unknown:
            raise TypeError(f"A context has no part called {', '.join(sorted(unknown))}")
        self.settings: Final = settings
        self.clock: Final = clock
        self.serves_requests: Final = serves_requests
        self._given_parts: Final = parts
        vars(self).update(parts)  # a cached property looks there before it builds anything

    def replace(
        self, *, settings: Settings | None = None, clock: Clock | None = None, **parts: Unpack[ContextParts]
    ) -> "AppContext":
        """Another context with these changes; it keeps the parts that were given, and builds the others itself."""
        merged: ContextParts = {**self._given_parts, **parts}
        return AppContext(
            settings or self.settings, clock or self.clock, serves_requests=self.serves_requests, **merged
        )

    @cached_property
    def instance(self) -> str:
        """The name of this process among all: host, process id and random letters."""
        return f"{socket.gethostname()}:{os.getpid()}:{uuid7()[-6:]}"

    @cached_property
    def database(self) -> Database:
        """The store, its tables created or upgraded."""
        background = self.timeouts
        in_request = self._timeouts(in_request=True) if self.serves_requests else background
        database = Database(self.settings.store_url, in_request, background if self.serves_requests else None)
        database.upgrade()
        return database

    @property
    def timeouts(self) -> DatabaseTimeouts:
        """How long work that nobody waits for may wait for the database."""
        return self._timeouts(in_request=False)

    def _timeouts(self, *, in_request: bool) -> DatabaseTimeouts:
        settings = self.settings
        limits = (settings.statement_seconds, settings.long_statement_seconds, settings.lock_seconds)
        return DatabaseTimeouts.from_settings(*limits, in_request=in_request)

    @cached_property
    def tracking(self) -> TrackingStore:
        """MLflow's runs and their artifacts."""
        return TrackingStore(self.settings.tracking_uri, self.settings.artifact_root)

    @cached_property
    def catalog(self) -> Catalog:
        """MLflow's registered model versions."""
        return Catalog(self.tracking)

    @cached_property
    def contracts(self) -> VersionContracts:
        """What each version takes and answers."""
        return VersionContracts(lambda: self.catalog)

    @property
    def model_name(self) -> str:
        """The name of the model that is served, watched and retrained."""
        return self.settings.model_name

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
    from_file = {key: value for key, value in dotenv_values(".env").items() if value is not None}
    return {**from_file, **os.environ}


def create_context(settings: Settings, *, serves_requests: bool = False) -> AppContext:
    """Prepare this process (quiet libraries, private files, logging) and make its context."""
    restrict_permissions(settings)
    disable_telemetry(os.environ)
    fill_environment(os.environ, settings.home.resolve())
    own_hosts = (settings.host, settings.mlflow_host)
    os.environ.update(no_proxy_variables(os.environ, own_hosts))
    set_up_logging(settings.log_level)
    for logger in ("httpx", "alembic", "mlflow", "mail.log"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a slot that is still being judged is no news
    return AppContext(settings, serves_requests=serves_requests)
