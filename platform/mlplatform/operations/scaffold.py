"""Starter files for a new deployment: alerts.yaml and .env.example, commented; it overwrites nothing unasked."""

import re
from importlib.resources import files
from pathlib import Path

from pydantic.fields import FieldInfo

from mlplatform.errors import ConflictError
from mlplatform.settings import Settings

RULES_TEMPLATE = "templates/alerts.yaml"
VARIABLE = re.compile(r"\$\{(PLATFORM_\w+)(?::-([^}]*))?\}")


def write_scaffold(folder: Path, force: bool) -> list[Path]:
    """Write both files; raises ConflictError naming a file that exists, before anything is written."""
    texts = {"alerts.yaml": rules_template(), ".env.example": render_env_example()}
    for name in texts:
        if (folder / name).exists() and not force:
            raise ConflictError(f"{folder / name} exists; move it away or use --force")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def rules_template() -> str:
    """The commented alerts.yaml that comes with the product."""
    return (files("mlplatform") / RULES_TEMPLATE).read_text(encoding="utf-8")


def render_env_example() -> str:
    """Every setting with its meaning and default, commented out."""
    lines = ["# Settings of mlplatform. Copy to .env and uncomment what you change.", ""]
    for name, info in Settings.model_fields.items():
        lines += [f"# {info.description}", f"# PLATFORM_{name.upper()}={default_text(info)}", ""]
    lines.append("# Channels of alerts.yaml; one without an address is switched off.")
    lines += [f"# {name}={default}" for name, default in template_variables(rules_template()).items()]
    return "\n".join(lines) + "\n"


def template_variables(rules: str) -> dict[str, str]:
    """The PLATFORM_* variables a rules file names, with their defaults."""
    return {name: default or "" for name, default in VARIABLE.findall(rules)}


def default_text(info: FieldInfo) -> str:
    """A setting's default as the environment writes it."""
    if info.default is None or info.default == ():
        return ""
    return str(info.default)
