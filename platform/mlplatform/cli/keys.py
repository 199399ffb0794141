"""`platform keys`: create, list, revoke."""

from typing import Annotated

import typer

from mlplatform.cli.output import AsJson, print_table
from mlplatform.host.console import print_json, say

keys_app = typer.Typer(help="API keys of the server.", no_args_is_help=True)
By = Annotated[str, typer.Option("--by", help="Who says so; kept in the audit log.")]


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who will hold it; recorded with everything done by it.")],
    scope: Annotated[list[str], typer.Option("--scope", help="predict, feedback, audit or admin; may be repeated.")],
    expires: Annotated[str | None, typer.Option("--expires", help="How long it lives: 12h, 90d.")] = None,
    by: By = "cli",
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    from mlplatform.cli.alerts import length
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import create_key
    from mlplatform.settings import load_settings

    lives = None if expires is None else length(expires, "--expires")
    text, key = create_key(build(load_settings()), name, scope, lives, by)
    until = "" if key.expires_at is None else f", until {key.expires_at:%F %T %Z}"
    words = f"{text}\nfor {key.name}: {', '.join(key.scopes)}{until}. It is shown this once and kept nowhere."
    say(
        {"id": key.id, "key": text, "name": key.name, "scopes": key.scopes, "expires_at": key.expires_at},
        words,
        as_json,
    )


@keys_app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Every key: whose, for what, when it was last used, until when it works."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import known_keys
    from mlplatform.settings import load_settings

    rows = known_keys(build(load_settings()))
    if as_json:
        print_json(rows)
    else:
        print_table("keys", rows, ("id", "name", "scopes", "state", "last_used_at", "expires_at", "created_by"), "none")


@keys_app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="Its id or its beginning.")],
    by: By = "cli",
    as_json: AsJson = False,
) -> None:
    """End a key; servers refuse it within seconds."""
    from mlplatform.context import build
    from mlplatform.operations.operator_actions import revoke_key
    from mlplatform.settings import load_settings
    from mlplatform.store.short_ids import whole_id

    parts = build(load_settings())
    with parts.database.read() as connection:
        found = whole_id(connection, "key", key_id)
    revoke_key(parts, found, by)
    say({"id": found, "state": "revoked"}, f"key {found} is revoked", as_json)
