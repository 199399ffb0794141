"""Records in the audit log what changed in alerts.yaml since the watcher before began to lead.

Every change of a threshold, a channel or an action becomes an entry of the audit log with the file's digest. Secrets
are masked: that a channel's address changed shows in the digest only, and only if it is written in the file.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.store import leases
from monitors.rules.alerts_config import AlertsConfig

ACTION: Final = "load-rules"
MAX_CHANGES: Final = 200


def audit_rule_changes(context: AppContext, lease: leases.Lease | None = None) -> list[str]:
    """Note the rules if they are not those that were noted last; returns what changed, in words."""
    subject, now = f"rules/{context.rules.model}", context.clock()
    digest = _digest(context.settings.alerts_file)
    values = flatten(context.rules)
    with context.database.write() as connection:
        if lease is not None:
            leases.require_lease(connection, lease)
        last = audit_entries.latest_entry(connection, ACTION, subject)
        if last is not None and last.details["digest"] == digest and last.details["values"] == values:
            return []
        changes = ["first seen"] if last is None else describe_changes(last.details["values"], values)
        details = {"digest": digest, "changes": changes[:MAX_CHANGES], "count": len(changes), "values": values}
        audit_entries.append(connection, "watcher", ACTION, subject, now, details)
    return changes


def flatten(rules: AlertsConfig) -> dict[str, str]:
    """Every value that is not at its default, by its path; rules by their names, not by their places."""
    document = rules.model_dump(mode="json", exclude_defaults=True)
    document["rules"] = {rule["name"]: rule for rule in document["rules"]}
    return dict(_flatten_items(document, ""))


def describe_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs, path by path."""
    return [
        f"{path}: {before.get(path, 'unset')} -> {after.get(path, 'unset')}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def _digest(file: Path) -> str:
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:  # it was there when the rules were read, and what they say is noted all the same
        return ""


def _flatten_items(value: Any, path: str) -> list[tuple[str, str]]:  # noqa: ANN401 - JSON is any of its types
    if isinstance(value, dict):
        return [
            leaf for key, item in value.items() for leaf in _flatten_items(item, f"{path}.{key}" if path else str(key))
        ]
    return [(path, str(value))]
