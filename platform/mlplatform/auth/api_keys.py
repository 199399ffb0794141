"""Stores API keys without their secrets: adds, lists and revokes them, and notes when each was last used."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, insert, or_, select, update

from mlplatform.audit import attested_rows, audit_entries
from mlplatform.auth.api_key import ApiKey
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.store.tables.auth import api_keys


def add(connection: Connection, key: ApiKey) -> None:
    """Keep a new key, with an entry in the audit log."""
    connection.execute(insert(api_keys).values(asdict(key) | {"scopes": list(key.scopes)}))
    until = None if key.expires_at is None else key.expires_at.isoformat()
    details: dict[str, object] = {"name": key.name, "scopes": list(key.scopes), "expires_at": until}
    details["rows"] = attested_rows.api_key_digests(connection, key.id)
    audit_entries.append(connection, key.created_by, "create-key", f"key/{key.id}", key.created_at, details)


def list_keys(connection: Connection) -> list[ApiKey]:
    """Every key there ever was, oldest first."""
    rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))
    return [ApiKey(**{**row._mapping, "scopes": tuple(row.scopes)}) for row in rows]


def revoke(connection: Connection, key_id: str, actor: str, now: datetime) -> None:
    """Let a key open nothing any more; raises NotFoundError, and ConflictError when that is so already."""
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"key {key_id!r} is not known; `platform keys list` shows the ids")
    if row.revoked_at is not None:
        raise ConflictError(f"key {key_id} was revoked at {row.revoked_at:%F %T %Z}")
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now))
    digests = attested_rows.api_key_digests(connection, key_id)
    audit_entries.append(connection, actor, "revoke-key", f"key/{key_id}", now, {"name": row.name, "rows": digests})


def record_use(connection: Connection, moments: Mapping[str, datetime]) -> None:
    """Note when keys were used; an older moment replaces no newer one."""
    for key_id in sorted(moments):  # one order everywhere: no deadlock between servers
        moment = moments[key_id]
        newer = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < moment)
        connection.execute(update(api_keys).where(api_keys.c.id == key_id, newer).values(last_used_at=moment))
