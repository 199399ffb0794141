"""Options that several commands share, and how their values are read."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
ByOption = Annotated[str, typer.Option("--by", help="Who says so; kept in the audit log.")]
ActorOption = Annotated[str, typer.Option("--actor", help="Who; kept in the audit log.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]
PipelineOption = Annotated[str | None, typer.Option("--pipeline", help="Model family; PLATFORM_PIPELINE otherwise.")]
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="Folder with MNIST in IDX form.")]


def parse_duration_option(text: str, option: str = "--for") -> timedelta:
    """A length of time as people write it, such as 12h or 30d; raises typer's BadParameter that names the option."""
    from monitors.rules.quantities import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}", param_hint=option) from error
