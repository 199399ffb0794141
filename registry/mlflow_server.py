"""The command line and environment of an MLflow server."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final

REQUEST_TIMEOUT_SECONDS = 5
_PASSWORD_VARIABLES: Final = {
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "any long random text, the same for all workers (openssl rand -hex 32)",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "the password of the user admin, made at the first start",
}


def quiet_environment() -> dict[str, str]:
    """The variables that keep MLflow silent, safe and quick to give up.

    Nothing here is applied by this room: the edge of each process puts them into `os.environ` (before
    mlflow is first imported) and into the environment of the processes it starts. A refused connection is
    reported at once, a hanging one after `REQUEST_TIMEOUT_SECONDS`; requests are not retried, because a
    retried write could register a model twice.
    """
    return {
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_AGENT_HINT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_SECONDS),
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


def store_environment(backend_uri: str) -> dict[str, str]:
    """Where the server keeps its tables: by environment, because a command line is public and this has passwords."""
    return {"MLFLOW_BACKEND_STORE_URI": backend_uri}


def server_command(
    host: str,
    port: int,
    artifact_root: str | None = None,
    artifacts_destination: str | None = None,
    workers: int = 1,
    allowed_hosts: Sequence[str] = (),
    app_name: str = "",
) -> list[str]:
    """The command of a server; run it under `quiet_environment()` and `store_environment(backend_uri)`.

    Without job execution off (see `quiet_environment`), MLflow adds eight helper processes and 1.3 GiB.
    Give `artifact_root` when clients and server share a disk: files are then written directly and the same
    versions stay readable without the server. Give `artifacts_destination` when they do not: the server
    then receives and hands out the files. `allowed_hosts` are the names clients use besides localhost and
    private addresses (for example a Compose service name). `app_name` is an MLflow plugin around the server, such as
    its own `basic-auth`. Health is served at `/health`.
    """
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", str(workers)]
    command += ["--uvicorn-opts", "--no-access-log --log-level warning --timeout-graceful-shutdown 3"]
    if artifact_root is not None:
        command += ["--default-artifact-root", artifact_root]
    if artifacts_destination is not None:
        command += ["--serve-artifacts", "--artifacts-destination", artifacts_destination]
    elif artifact_root is not None:
        command += ["--no-serve-artifacts"]
    if allowed_hosts:
        command += ["--allowed-hosts", ",".join(allowed_hosts)]
    if app_name:
        command += ["--app-name", app_name]
    return command


def missing_password_settings(environment: Mapping[str, str]) -> list[str]:
    """What MLflow's basic-auth plugin lacks here, in words; it would end with a traceback."""
    faults = [] if find_spec("flask_wtf") else ["the package Flask-WTF is missing: pip install 'mlflow[auth]'"]
    return faults + [
        f"{name} is not set: {why}" for name, why in _PASSWORD_VARIABLES.items() if not environment.get(name)
    ]


def password_config(database_uri: str) -> str:
    """The plugin's configuration: users in a database of their own, who may read nothing they were not given."""
    return (
        "[mlflow]\nadmin_username = admin\n"
        "default_permission = NO_PERMISSIONS\ngrant_default_workspace_access = false\n"
        f"database_uri = {database_uri.replace('%', '%%')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
