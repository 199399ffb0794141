"""Runs the whole platform on this machine, MLflow, API server and watcher as child processes, without Docker."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mlplatform.access_settings import LOOPBACK_HOSTS
from mlplatform.alerting.links import http_url
from mlplatform.context import create_context
from mlplatform.errors import ProcessError, SettingsError
from mlplatform.host.console import echo
from mlplatform.host.processes import ProcessGroup, exit_on_signals, http_ok
from mlplatform.settings import Settings, load_settings
from mlplatform.store import leases
from registry.mlflow_connection import MlflowConnection, mask_uri, normalize_uri
from registry.mlflow_server import missing_password_settings, password_config, server_command, store_environment

STARTUP_SECONDS = 120.0


def platform_command(*words: str) -> list[str]:
    """A command of this product, run by this interpreter."""
    return [sys.executable, "-P", "-m", "mlplatform", *words]  # -P: nothing is imported from the working folder


def run_mlflow(as_json: bool) -> None:
    """`platform mlflow`: become the MLflow server. Its store is PLATFORM_MLFLOW_BACKEND_URI or the home folder."""
    settings = load_settings()
    create_context(settings)
    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    backend = normalize_uri(settings.mlflow_backend_uri) or f"sqlite:///{home / 'mlflow.db'}"
    destination = settings.mlflow_artifacts or None
    command = server_command(
        settings.mlflow_host,
        settings.mlflow_port,
        artifact_root=None if destination else (home / "artifacts").as_uri(),
        artifacts_destination=destination,
        allowed_hosts=settings.mlflow_allowed_hosts,
        app_name="basic-auth" if settings.mlflow_auth == "basic" else "",
    )
    passwords = mlflow_auth_environment(settings, home, os.environ)
    MlflowConnection(backend).create_tables()
    announcement, text = mlflow_announcement(settings)
    echo(announcement, text, as_json)
    sys.stdout.flush()
    os.environ.update(store_environment(backend) | passwords)
    os.execv(command[0], command)  # noqa: S606 - the same interpreter, no shell


def mlflow_announcement(settings: Settings) -> tuple[dict[str, str], str]:
    """What is said at MLflow's start: its address, and a warning where anybody may change everything."""
    announcement = {"address": mlflow_url(settings), "auth": settings.mlflow_auth}
    text = f"MLflow on {mlflow_url(settings)}"
    if settings.mlflow_host in LOOPBACK_HOSTS or settings.mlflow_auth != "off":
        return announcement, text
    warning = "WARNING: MLflow beyond loopback without passwords (PLATFORM_MLFLOW_AUTH=off): anybody may use it"
    return announcement | {"warning": warning}, f"{text}\n{warning}"


def mlflow_auth_environment(settings: Settings, home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of MLflow's password plugin, its configuration written; none where it is off.

    Raises SettingsError naming what is missing.
    """
    if settings.mlflow_auth == "off":
        return {}
    if faults := missing_password_settings(environment):
        raise SettingsError(f"PLATFORM_MLFLOW_AUTH=basic: {'; '.join(faults)}")
    if "MLFLOW_AUTH_CONFIG_PATH" in environment:
        return {}
    path = home / "mlflow-auth.ini"
    path.write_text(password_config(f"sqlite:///{home / 'mlflow-auth.db'}"), encoding="utf-8")
    return {"MLFLOW_AUTH_CONFIG_PATH": str(path)}


def mlflow_url(settings: Settings) -> str:
    """Where `platform mlflow` listens."""
    return http_url(settings.mlflow_host, settings.mlflow_port)


def start_platform(processes: ProcessGroup, settings: Settings, env: Mapping[str, str]) -> dict[str, float]:
    """Start the three processes and wait until each is healthy; returns the seconds each took."""
    api = http_url(settings.host, settings.port)
    context = create_context(settings)
    mlflow = processes.start("mlflow", platform_command("mlflow"), env)
    seconds = {"mlflow": processes.wait_healthy(mlflow, http_ok(f"{mlflow_url(settings)}/health"), STARTUP_SECONDS)}
    shared = {**env, "PLATFORM_MLFLOW_URI": mlflow_url(settings)}
    serve = processes.start("api", platform_command("serve"), shared)
    watch = processes.start("watcher", platform_command("watch"), shared)
    seconds["api"] = processes.wait_healthy(serve, http_ok(f"{api}/healthz"), STARTUP_SECONDS)
    started = context.clock()

    def on_duty() -> bool:
        with context.database.read() as connection:
            return any(beat.component == "watcher" for beat in leases.recent_heartbeats(connection, started))

    seconds["watcher"] = processes.wait_healthy(watch, on_duty, STARTUP_SECONDS)
    return seconds


def run_platform(as_json: bool) -> None:
    """`platform up`: run until Ctrl-C, or until a child ends by itself (then exit with an error)."""
    settings = load_settings()
    if settings.mlflow_uri:
        raise SettingsError(
            f"PLATFORM_MLFLOW_URI={mask_uri(settings.mlflow_uri)!r} names another MLflow server; `platform up` starts "
            "its own: unset it, or run `platform serve` and `platform watch` instead"
        )
    links = {
        "PLATFORM_PUBLIC_URL": settings.public_url or http_url(settings.host, settings.port),
        "PLATFORM_MLFLOW_PUBLIC_URL": settings.mlflow_public_url or mlflow_url(settings),
    }
    with exit_on_signals(), ProcessGroup(settings.home / "logs") as processes:
        try:
            seconds = start_platform(processes, settings, links)
            addresses = {"api": f"{links['PLATFORM_PUBLIC_URL']}/docs", "mlflow": mlflow_url(settings)}
            lines = [f"{name}: {address}" for name, address in addresses.items()]
            lines += [f"logs: {processes.logs}", "Ctrl-C stops everything; `platform train` makes the first model"]
            echo({"addresses": addresses, "seconds": seconds}, "\n".join(lines), as_json)
            sys.stdout.flush()
            while (dead := processes.find_exited()) is None:
                time.sleep(0.5)
            raise ProcessError(f"{dead.name} ended by itself; its last words:\n{dead.tail()}")
        except KeyboardInterrupt:
            return
