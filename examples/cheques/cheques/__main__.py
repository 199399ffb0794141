"""The commands: `python -m cheques serve`, `accounts`, `render`, `operating-point`, `verify`, `send-labels`."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from cheques import audit_verification
from cheques.account_table import parse_accounts, put_accounts
from cheques.amount_reading import platform_client
from cheques.errors import ChequesError
from cheques.label_sending import let_refused_wait, send_labels, waiting_labels
from cheques.settings import Settings
from cheques.store import Store
from mlplatform.client import ClientError

FAULTY = 3
"""The exit code of a verification that found something."""


def main(given: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = _parser().parse_args(given)
    try:
        code: int = arguments.run(Settings(), arguments)
    except ValidationError as error:
        said = "; ".join(f"CHEQUES_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        print(f"cheques: {said}", file=sys.stderr)
        return 2
    except SettingsError as error:  # a list, which pydantic reads as JSON
        print(f"cheques: {error}; give JSON, such as CHEQUES_ALLOWED_HOSTS='[\"cheques.example\"]'", file=sys.stderr)
        return 2
    except DBAPIError as error:
        print(f"cheques: the database of CHEQUES_DATABASE_URL failed: {error.orig}", file=sys.stderr)
        return 1
    except (ArgumentError, NoSuchModuleError) as error:
        print(f"cheques: CHEQUES_DATABASE_URL: {error}; give sqlite:///FILE or postgresql://…", file=sys.stderr)
        return 2
    except (ChequesError, ClientError, OSError) as error:
        print(f"cheques: {error}", file=sys.stderr)
        return 1
    return code


def serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Show the pages until Ctrl-C."""
    import uvicorn

    from cheques.web.app import create_app

    with platform_client(settings.platform_url, settings.platform_key) as client:
        app = create_app(settings, Store(settings.database_url), client)
        uvicorn.run(app, host=settings.host, port=settings.port, log_level="info", proxy_headers=False)
    return 0


def accounts(settings: Settings, arguments: argparse.Namespace) -> int:
    """Take accounts from a CSV file."""
    with arguments.file.open(encoding="utf-8", newline="") as file:
        given = parse_accounts(file)
    store = Store(settings.database_url)
    with store.write() as connection:
        count = put_accounts(connection, given, arguments.actor, datetime.now(UTC))
    print(f"{count} accounts")
    return 0


def render(_settings: Settings, arguments: argparse.Namespace) -> int:
    """Render cheques into a folder."""
    from cheques.rendering.handwriting import amount_writer, thick_marker
    from cheques.rendering.sample_cheques import sample_accounts, sample_cheques, write_samples

    known = sample_accounts()
    writer = amount_writer(arguments.data_dir)
    pen = thick_marker if arguments.thick else lambda amount: amount
    count = write_samples(arguments.folder, sample_cheques(writer, known, arguments.count, arguments.seed, pen), known)
    print(f"{count} cheques, truths.jsonl and accounts.csv in {arguments.folder}")
    return 0


def operating_point(settings: Settings, arguments: argparse.Namespace) -> int:
    """Say which threshold accepts how much at which error, on rendered cheques of the validation part."""
    from cheques.operating_point import choose_operating_point, judged_readings
    from cheques.rendering.handwriting import amount_writer
    from cheques.rendering.sample_cheques import sample_accounts, sample_cheques

    samples = sample_cheques(
        amount_writer(arguments.data_dir, "validation"), sample_accounts(), arguments.count, arguments.seed
    )
    with platform_client(settings.platform_url, settings.platform_key) as client:
        readings = list(judged_readings(client, samples))
    for point in choose_operating_point(readings, (0.001, 0.005, 0.01, 0.02, 0.05)):
        low, high = point.error_limits
        print(
            f"error at most {point.risk:.1%}: CHEQUES_THRESHOLD={point.threshold:.6f} accepts {point.share:.1%} of "
            f"{point.rows}, {point.wrong} of {point.accepted} wrong (95 %: {low:.1%} to {high:.1%})"
        )
    return 0


def verify(settings: Settings, arguments: argparse.Namespace) -> int:
    """Verify the audit trail."""
    with Store(settings.database_url).read() as connection:
        report = audit_verification.verify(connection, arguments.head, with_pictures=True)
    for fault in report.faults:
        print(f"fault: {fault}", file=sys.stderr)
    print(
        json.dumps(
            {"entries": report.entries, "cheques": report.cheques, "head": report.head, "faults": len(report.faults)}
        )
    )
    return FAULTY if report.faults else 0


def send(settings: Settings, arguments: argparse.Namespace) -> int:
    """Send the labels that wait."""
    store = Store(settings.database_url)
    if arguments.refused:
        let_refused_wait(store)
    with platform_client(settings.platform_url, settings.platform_key) as client:
        count = send_labels(store, client)
    print(f"{count} labels sent, {waiting_labels(store)} wait")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cheques", description="Reads cheques; settings are CHEQUES_*.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    added = commands.add_parser("serve", help=serve.__doc__)
    added.set_defaults(run=serve)
    added = commands.add_parser("accounts", help=accounts.__doc__)
    added.add_argument("file", type=Path, help="CSV: account, holder, open (yes or no), largest_cheque")
    added.add_argument("--actor", default="operator", help="who does it, for the audit trail")
    added.set_defaults(run=accounts)
    added = commands.add_parser("render", help=render.__doc__)
    added.add_argument("folder", type=Path)
    added.add_argument("--thick", action="store_true", help="written with a thick marker")
    added.set_defaults(run=render)
    _add_samples(added, 20)
    added = commands.add_parser("operating-point", help=operating_point.__doc__)
    added.set_defaults(run=operating_point)
    _add_samples(added, 300)
    added = commands.add_parser("verify", help=verify.__doc__)
    added.add_argument("--head", default="", help="the hash of an entry that was kept elsewhere")
    added.set_defaults(run=verify)
    added = commands.add_parser("send-labels", help=send.__doc__)
    added.add_argument("--refused", action="store_true", help="those that the platform refused before as well")
    added.set_defaults(run=send)
    return parser


def _add_samples(parser: argparse.ArgumentParser, count: int) -> None:
    parser.add_argument("--data-dir", type=Path, help="a folder in ORAND-CAR-A's form; without it, bundled digits")
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    sys.exit(main())
