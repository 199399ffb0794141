"""docker-compose.yml describes processes that exist, healthy, non-root and without secrets of its own."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

from mlplatform.cli import app
from mlplatform.operations.scaffold import template_variables
from mlplatform.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_the_services_are_there_with_health_checks_and_volumes() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {
        "postgres",
        "mlflow",
        "api",
        "watcher",
    }
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "prometheus": ["prometheus"],
        "grafana": ["grafana"],
    }
    for service in SERVICES.values():
        assert service["healthcheck"]["test"]
        for volume in service["volumes"]:
            name = volume.partition(":")[0]
            assert name in COMPOSE["volumes"] or (ROOT / name).exists()


@pytest.mark.parametrize("name", ["mlflow", "api", "watcher"])
def test_the_command_exists_and_takes_its_options(name: str) -> None:
    words = SERVICES[name]["command"]
    assert words[0] == "platform"
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    command = group.commands[words[1]]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    probe = SERVICES[name]["healthcheck"]["test"]
    if probe[1] == "platform":
        probed = {option for parameter in group.commands[probe[2]].params for option in parameter.opts}
        assert set(probe[3:]) <= probed


@pytest.mark.parametrize("name", ["mlflow", "api", "watcher"])
def test_the_command_answers_its_help(name: str) -> None:
    """Its module is still where the command looks for it."""
    result = CliRunner().invoke(app, [SERVICES[name]["command"][1], "--help"])
    assert result.exit_code == 0, result.output


def test_every_variable_is_a_setting_or_a_channel_of_the_rules() -> None:
    known = {f"PLATFORM_{name.upper()}" for name in Settings.model_fields}
    known |= set(template_variables((ROOT / "alerts.yaml").read_text(encoding="utf-8")))
    for name in ("mlflow", "api", "watcher"):
        assert set(SERVICES[name]["environment"]) <= known


def test_secrets_come_from_the_environment_and_nothing_is_published_beyond_loopback() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", key):
                assert str(value).startswith("${")
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_image_runs_as_a_user_of_its_own() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER platform$", dockerfile, flags=re.MULTILINE)
    assert dockerfile.index("USER platform") < dockerfile.index("CMD")
