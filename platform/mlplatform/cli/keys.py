"""`platform keys`: create, list, revoke."""

from typing import Annotated

import typer

from mlplatform.cli.options import ByOption, JsonOption, parse_duration_option
from mlplatform.cli.output import print_table
from mlplatform.host.console import echo, print_json

keys_app = typer.Typer(help="API keys of the server.", no_args_is_help=True)


@keys_app.command("create")
def create_api_key(
    name: Annotated[str, typer.Argument(help="Who will hold it; recorded with everything done by it.")],
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="predict, feedback, audit, review, retrain, operate or admin; for one model: predict:digits. "
            "May be repeated.",
        ),
    ],
    expires: Annotated[str | None, typer.Option("--expires", help="How long it lives: 12h, 90d.")] = None,
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import create_key
    from mlplatform.settings import load_settings

    lives = None if expires is None else parse_duration_option(expires, "--expires")
    text, key = create_key(create_context(load_settings()), name, scope, lives, by)
    until = "" if key.expires_at is None else f", until {key.expires_at:%F %T %Z}"
    words = f"{text}\nfor {key.name}: {', '.join(key.scopes)}{until}. It is shown this once and kept nowhere."
    echo(
        {"id": key.id, "key": text, "name": key.name, "scopes": key.scopes, "expires_at": key.expires_at},
        words,
        as_json,
    )


@keys_app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """Every key: whose, for what, when it was last used, until when it works."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import describe_keys
    from mlplatform.serialization import to_jsonable
    from mlplatform.settings import load_settings

    rows = to_jsonable(describe_keys(create_context(load_settings())))
    if as_json:
        print_json(rows)
    else:
        print_table("keys", rows, ("id", "name", "scopes", "state", "last_used_at", "expires_at", "created_by"), "none")


@keys_app.command("revoke")
def revoke_api_key(
    key_id: Annotated[str, typer.Argument(help="Its id or its beginning.")],
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """End a key; servers refuse it within seconds."""
    from mlplatform.context import create_context
    from mlplatform.operations.operator_actions import revoke_key
    from mlplatform.settings import load_settings
    from mlplatform.store.short_ids import resolve_id

    context = create_context(load_settings())
    with context.database.read() as connection:
        full_id = resolve_id(connection, "key", key_id)
    revoke_key(context, full_id, by)
    echo({"id": full_id, "state": "revoked"}, f"key {full_id} is revoked", as_json)
