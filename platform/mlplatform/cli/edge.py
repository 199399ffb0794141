"""`platform export` and `platform edge`: models on other machines."""

from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.options import JsonOption
from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.host.console import echo, print_json

edge_app = typer.Typer(help="Exported models on other machines.", no_args_is_help=True)


def export_model(
    form: Annotated[str, typer.Option("--format", help="onnx, onnx-int8 or executorch.")] = "onnx",
    version: Annotated[int | None, typer.Option("--version", help="Version; the champion otherwise.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write.")] = None,
    with_server: Annotated[
        bool, typer.Option("--with-server", help="Write the edge server's files beside it: python edge.py FILE.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a version as one file for another machine, compared with PyTorch on the golden set."""
    from mlplatform.context import create_context
    from mlplatform.operations.model_export import export_version
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    with ProgressBar("exporting", quiet=as_json):
        exported = export_version(create_context(load_settings()), version, form, out, with_server=with_server)
    export = {name: value for name, value in to_jsonable(exported).items() if name != "parity"}
    export |= to_jsonable(exported.parity)
    if as_json:
        print_json(export)
        return
    rows = [{"measure": name.replace("_", " "), "value": value} for name, value in export.items()]
    print_table(f"version {export['version']} as {form}", rows, ("measure", "value"), "nothing")


@edge_app.command("serve")
def serve(
    model: Path,
    host: Annotated[str, typer.Option("--host", help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port.")] = 8080,
    threads: Annotated[int, typer.Option("--threads", help="Threads per answer.", min=1)] = 1,
    polarity: Annotated[str, typer.Option("--polarity", help="auto, light-on-dark or dark-on-light.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Answer /v1/predict with an exported model until Ctrl-C; needs neither PyTorch nor a database.

    Beyond loopback it asks for the key in the environment variable EDGE_KEY.
    """
    import os

    from mlplatform.alerting.links import http_url
    from mlplatform.errors import SettingsError
    from pipelines.edge import edge_server
    from pipelines.edge.bounded_server import serve_until_signal
    from pipelines.image.image_decoding import POLARITIES

    if polarity not in POLARITIES:
        raise SettingsError(f"polarity {polarity!r} is not known; known: {', '.join(POLARITIES)}")
    try:
        ready = edge_server.EdgeModel(model, threads, polarity)  # type: ignore[arg-type]  # it is one of them
        server = edge_server.make_server(ready, host, port, os.environ.get(edge_server.KEY_VARIABLE, ""))
    except edge_server.RequestRejectedError as refused:
        raise SettingsError(str(refused)) from refused
    value = {"model": ready.name, "version": ready.version, "host": host, "port": port}
    echo(value, f"{ready.name} version {ready.version} answers on {http_url(host, port)}/v1/predict", as_json)
    serve_until_signal(server)
