"""The settings of the demo's own platform, and the same as the environment of its processes."""

import json
from pathlib import Path

from mlplatform.settings import Settings


def demo_settings(base: Settings, home: Path, api: int, mlflow: int) -> Settings:
    """The demo's own platform: embedded stores in a fresh folder, whatever the environment says."""
    return base.model_copy(
        update={
            "home": home,
            "data_dir": None if base.data_dir is None else base.data_dir.resolve(),
            "database_url": "",
            "mlflow_uri": "",
            "mlflow_backend_uri": "",
            "mlflow_artifacts": "",
            "mlflow_host": "127.0.0.1",
            "mlflow_port": mlflow,
            "host": "127.0.0.1",
            "port": api,
            "auth": "off",
            "mlflow_auth": "off",
            "allowed_hosts": (),
            "rate_limit": 0,
            "allowed_receivers": ("127.0.0.1",),
            "public_url": f"http://127.0.0.1:{api}",
            "mlflow_public_url": f"http://127.0.0.1:{mlflow}",
            "alerts_file": home / "alerts.yaml",
            "pipeline": "digits",
            "recipe": "compact",
            "gate_margin_points": 3.0,  # about 400 golden rows cannot settle less
            "poll_seconds": 1.0,
            "log_level": "warning",
        }
    )


def child_environment(settings: Settings) -> dict[str, str]:
    """The same settings for the child processes: an empty one wins over the parent's, and `home` holds no .env."""
    values = {name: value for name, value in settings.model_dump(mode="json").items() if value is not None}
    return {
        f"PLATFORM_{name.upper()}": json.dumps(value) if isinstance(value, list) else str(value)
        for name, value in values.items()
    }
