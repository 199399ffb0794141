"""Starter files for a new deployment: alerts.yaml and .env.example, commented; it overwrites nothing unasked."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

from pydantic.fields import FieldInfo

from mlplatform.errors import ConflictError
from mlplatform.settings import Settings

RULES_TEMPLATE = "templates/alerts.yaml"
Task = Literal["images", "table"]
VARIABLE = re.compile(r"\$\{(PLATFORM_\w+)(?::-([^}]*))?\}")


TABLE_RULES: Final = (
    ('    above: 0.5 points          # percentage points; "0.5 %" means the same\n', "    above: 2 points\n"),
    ("    clear: 0.2 points ", "    clear: 1 points   "),
    ("    # block: 1d                # what is", "    block: 1d                  # what is"),
    (
        "    above: 10 %\n    window: 7d\n    min_samples: 30 ",
        (
            "    block: 1d\n    above: 50 %                # some classes are harder: write what none may exceed\n"
            "    window: 7d\n    min_samples: 30 "
        ),
    ),
    ("    clear: 7 %\n", "    clear: 45 %\n"),
)
"""What the rules of a table say instead: rows of a day go wrong together, and no table is read like digits."""
WITHOUT_PIPELINE: Final = (
    (
        "    action: retrain            # retrain | tune-serving | label-audit | none\n",
        "    action: none               # people are told; retrain needs a pipeline that makes this model\n",
    ),
)
"""What the rules of a model say instead that nothing here makes versions of, as one that was adopted."""
COLUMN_RULES: Final = (
    "missing-values",
    "unknown-categories",
    "out-of-range",
    "training-serving-skew",
    "column-drift",
)
"""The rules that are switched off in the template, and on for a table."""


def write_scaffold(
    folder: Path, force: bool, model: str = "digits", task: Task = "images", *, retrains: bool = True
) -> list[Path]:
    """Write both files for a model; raises ConflictError naming a file that exists, before anything is written."""
    texts = {"alerts.yaml": rules_for(model, task, retrains=retrains), ".env.example": render_env_example()}
    for name in texts:
        if (folder / name).exists() and not force:
            raise ConflictError(f"{folder / name} exists; move it away or use --force")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def rules_for(model: str, task: Task, *, retrains: bool = True) -> str:
    """The commented alerts.yaml for a model and its kind of inputs; no rule asks for what nothing here can make."""
    text = rules_template().replace("model: digits ", f"model: {model:<6} ", 1)
    for written, instead in TABLE_RULES if task == "table" else ():
        if written not in text:
            raise ValueError(f"the template has no {written!r} to be written for a table; mend TABLE_RULES")
        text = text.replace(written, instead, 1)
    for name in COLUMN_RULES if task == "table" else ():
        text = _switch_on(text, name)
    for written, instead in () if retrains else WITHOUT_PIPELINE:
        if written not in text:
            raise ValueError(f"the template has no {written!r} to be written without a pipeline; mend WITHOUT_PIPELINE")
        text = text.replace(written, instead, 1)
    return text


def _switch_on(text: str, name: str) -> str:
    """The rules with the one of that name no longer commented out."""
    before, mark, rest = text.partition(f"  # - name: {name}\n")
    if not mark:
        raise ValueError(f"the template has no rule {name!r} that is switched off; mend COLUMN_RULES")
    lines = rest.splitlines(keepends=True)
    count = next(place for place, line in enumerate([*lines, ""]) if not line.startswith("  #   "))
    own = "".join(f"    {line.removeprefix('  #   ')}" for line in lines[:count])
    return f"{before}  - name: {name}\n{own}{''.join(lines[count:])}"


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
