"""The command line: commands, and the one place where an error becomes an exit code.

Heavy libraries are imported inside the commands that need them, so that `platform --help` stays quick.
"""

import io
import os
import sys

from mlplatform.cli.adoption import adopt
from mlplatform.cli.alerts import alerts_app
from mlplatform.cli.audit import audit_app
from mlplatform.cli.datasets import data_app
from mlplatform.cli.edge import edge_app, export_model
from mlplatform.cli.exit_codes import EXIT_FAILED, exit_code
from mlplatform.cli.feedback import feedback_app
from mlplatform.cli.keys import keys_app
from mlplatform.cli.label_studio import label_studio_app
from mlplatform.cli.models import models_app
from mlplatform.cli.recording import recording_app
from mlplatform.cli.retention import retention_app
from mlplatform.cli.root import app
from mlplatform.host.compute_threads import wait_without_spinning
from mlplatform.host.control_characters import indent_further_lines
from mlplatform.host.log_setup import format_traceback_safely, print_tracebacks_safely
from mlplatform.host.telemetry_opt_out import disable_telemetry

app.add_typer(data_app, name="data")
app.add_typer(alerts_app, name="alerts")
app.add_typer(audit_app, name="audit")
app.add_typer(keys_app, name="keys")
app.add_typer(feedback_app, name="feedback")
app.add_typer(label_studio_app, name="label-studio")
app.add_typer(models_app, name="models")
app.add_typer(edge_app, name="edge")
app.command("export")(export_model)
app.command("adopt")(adopt)
app.add_typer(recording_app, name="recording")
app.add_typer(retention_app, name="retention")

__all__ = ["app", "exit_code", "main"]


def main() -> None:
    """Run the command line; known errors become one line on stderr and a documented exit code."""
    disable_telemetry(os.environ)
    wait_without_spinning(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")  # a word less is better than a traceback
    print_tracebacks_safely()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the edge of the process: whatever ends it is printed
        code = exit_code(error)
        if code is None:
            print(format_traceback_safely(type(error), error, error.__traceback__), file=sys.stderr)  # noqa: T201
            sys.exit(EXIT_FAILED)
        print(indent_further_lines(f"platform: {error}"), file=sys.stderr)  # noqa: T201 - this is the command line
        sys.exit(code)
