"""The page of commands, from the typer application."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from generator.markdown import anchor, choices, first_line, page, table
from mlplatform.cli import app as command_line
from mlplatform.cli.json_output import JSON_FORMS


def commands_page() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(command_line)
    assert isinstance(group, TyperGroup)
    commands = list(_commands(group, "platform"))
    overview = [(f"[`{name}`](#{anchor(name)})", first_line(command.help)) for name, command in commands]
    return page(
        "Commands",
        "Every command takes `--json`, which prints one JSON document on stdout for programs, and `--help`. What its "
        "exit status means is under [exit codes](exit-codes.md). The keys of each document stand with its command: "
        "within a major version keys are added, and none is renamed or removed.",
        "`platform --install-completion` lets bash, zsh, fish or PowerShell complete commands and options; "
        "`--show-completion` prints what it would add. What takes long shows a progress bar on stderr where that is a "
        "terminal, and never with `--json`.",
        table(("command", "what it does"), overview),
        *(_command(name, command) for name, command in commands),
    )


def _commands(group: TyperGroup, words: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{words} {name}")
        elif isinstance(command, TyperCommand) and not command.hidden:
            yield f"{words} {name}", command


def _command(name: str, command: TyperCommand) -> str:
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    options = [each for each in command.params if isinstance(each, TyperOption) and each.opts != ["--json"]]
    usage = " ".join([name, *(_argument(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{_argument(each)}`", "", each.help or "") for each in arguments]
    rows += [(_option(option), _default(option.default), option.help or "") for option in options]
    help_text = re.sub(r"[ \t]+", " ", (command.help or "").strip())
    return "\n\n".join(
        part
        for part in (
            f"## {name}",
            help_text,
            f"```text\n{usage}\n```",
            table(("argument or option", "default", "meaning"), rows),
            _json_form(name),
        )
        if part
    )


def _json_form(name: str) -> str:
    """What `--json` prints."""
    form = JSON_FORMS[name.removeprefix("platform ")]
    if not form.keys:
        return f"`--json`: a {'list of texts' if form.is_list else 'document of a form of its own'}."
    shown = ["`" + "`, `".join(keys) + "`" for keys in (form.keys, *form.others)]
    kind = "a list of objects with" if form.is_list else "an object with"
    return f"`--json`: {kind} {'; or with other options '.join(shown)}."


def _argument(argument: TyperArgument) -> str:
    word = (argument.metavar or argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _option(option: TyperOption) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {_value(option.type_descriptor.annotation)}" + (", may be repeated" if option.multiple else "")


def _value(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return choices([str(choice.value) for choice in kind])
    if literals := [value for value in typing.get_args(kind) if isinstance(value, str)]:
        return choices(literals)
    words = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
    return words.get(kind, "TEXT") if isinstance(kind, type) else "TEXT"


def _default(value: object) -> str:
    return "" if value is None or value is False or value == "" or callable(value) else f"`{value}`"
