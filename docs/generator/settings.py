"""The pages of settings and exit codes, from the settings model and the module that chooses exit codes."""

from __future__ import annotations

import re
import typing

from pydantic.fields import FieldInfo

from generator.markdown import choices, code, page, table
from mlplatform.cli import exit_codes
from mlplatform.operations.scaffold import default_text, rules_template, template_variables
from mlplatform.settings import Settings


def settings_page() -> str:
    """Every setting with its default, its bounds and its meaning."""
    rows = [
        (f"`PLATFORM_{name.upper()}`", code(default_text(info)), _allowed(info), info.description or "")
        for name, info in Settings.model_fields.items()
    ]
    channels = [(f"`{name}`", code(default)) for name, default in template_variables(rules_template()).items()]
    return page(
        "Settings",
        "Read from the environment, then from `.env` in the working directory, then these defaults; an empty variable "
        "counts as not set. `platform init` writes them all as a commented `.env.example`, and `platform doctor` names "
        "variables it does not know.",
        table(("variable", "default", "allowed", "meaning"), rows),
        "## Variables of the shipped alerts.yaml",
        "Not settings: `alerts.yaml` reads them by `${NAME:-default}`. A channel whose address is "
        "empty is switched off.",
        table(("variable", "default"), channels),
    )


def _allowed(info: FieldInfo) -> str:
    kind = info.annotation
    if literals := [value for value in typing.get_args(kind) if isinstance(value, str)]:
        return choices(literals)
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {getattr(each, key):g}" for each in info.metadata for key, sign in signs.items() if hasattr(each, key)
    ]
    if kind is bool:
        return "`True`, `False`"
    words = {int: "whole number", float: "number"}.get(kind, "") if isinstance(kind, type) else ""
    return ", ".join([*([words] if words else []), *bounds])


def exit_codes_page() -> str:
    """What the exit status of a command means."""
    rows = re.findall(r"^\| \d+ \|.*\|$", exit_codes.__doc__ or "", flags=re.MULTILINE)
    return page(
        "Exit codes",
        "What the exit status of `platform` means, for scripts and schedulers. A known error is one line on standard "
        "error; a traceback is a defect.",
        "\n".join(["| code | meaning |", "|---|---|", *rows]),
    )
