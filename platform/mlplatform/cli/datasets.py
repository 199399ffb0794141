"""`platform data`: fetch."""

from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from mlplatform.cli.options import JsonOption
from mlplatform.host.console import SafeConsole, echo

data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
FETCH_TIMEOUT_SECONDS: Final = 3600.0
"""A data set is fetched within this time, or not: a mirror may send a byte now and then."""


@data_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Data set: mnist, qmnist, usps, svhn or emnist.")],
    folder: Annotated[Path | None, typer.Option(help="Where to put it [default: var/data/NAME].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a data set and check it against its known checksums."""
    target = folder or Path("var/data") / name
    files = _download(name, target, quiet=as_json)
    echo({"files": [str(path) for path in files]}, f"{name} is at {target}", as_json)


def _download(name: str, folder: Path, *, quiet: bool) -> list[Path]:
    """Download with a progress bar a file on a terminal's stderr; raises NotFoundError for an unknown name."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from mlplatform.errors import NotFoundError
    from mlplatform.network.deadline import run_with_deadline
    from pipelines.datasets import download
    from pipelines.errors import MissingDataError

    try:
        source = download.find_source(name)
    except MissingDataError as error:
        raise NotFoundError(str(error)) from error
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[state]}"))
    where = SafeConsole(stderr=True)
    with Progress(*columns, console=where, disable=quiet or not where.is_terminal) as bars:
        tasks = {file: bars.add_task(file, total=None, state="waiting") for file in source.checksums}

        def show(progress: download.DownloadProgress) -> None:
            bars.update(
                tasks[progress.file],
                completed=progress.bytes_done,
                total=progress.bytes_total,
                state=progress.state,
            )

        return list(
            run_with_deadline(FETCH_TIMEOUT_SECONDS, partial(download.fetch, source, folder, progress=show), "fetch")
        )
