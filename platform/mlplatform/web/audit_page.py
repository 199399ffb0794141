"""The pages of the audit log, with its filters and how far it was verified, and of the API keys."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import Connection

from mlplatform.audit import checkpoint_files
from mlplatform.audit.entry_search import SCAN_LIMIT, EntryFilter, FoundEntries, log_head, search_entries
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import describe_keys
from mlplatform.web.rendering import render_page

MAX_ENTRIES: Final = 50
MAX_DETAILS_LENGTH: Final = 300


@dataclass(frozen=True)
class EntryLine:
    """One entry as it is listed."""

    number: str
    at: datetime
    actor: str
    action: str
    subject: str
    details: str
    is_intact: bool


@dataclass(frozen=True)
class LogState:
    """What is known of the log's soundness, a sentence each, and whether something is wrong."""

    is_sound: bool
    sentences: tuple[str, ...]
    checkpoint_at: datetime | None


def audit_page(context: AppContext, wanted: EntryFilter) -> str:
    """The log, newest first, of those entries that fit."""
    with context.database.read() as connection:
        found = search_entries(connection, wanted, MAX_ENTRIES)
        state = _log_state(connection, found)
    return render_page(
        "audit.html",
        path="/audit",
        title="Audit log",
        section="Audit",
        entries=[
            EntryLine(
                "" if each.number is None else str(each.number),
                each.entry.at,
                each.entry.actor,
                each.entry.action,
                each.entry.subject,
                details_text(each.entry.details),
                each.is_intact,
            )
            for each in found.entries
        ],
        wanted=wanted,
        state=state,
        older=_older_query(wanted, found.older),
        scanned=f"{SCAN_LIMIT:,}",
    )


def keys_page(context: AppContext) -> str:
    """Every API key there ever was, those that work first."""
    keys = sorted(describe_keys(context), key=lambda key: key.state != "works")
    return render_page(
        "keys.html",
        path="/keys",
        title="API keys",
        section="Audit",
        keys=keys,
        asks_for_keys=context.settings.requires_keys,
    )


def details_text(details: object) -> str:
    """What an entry says besides, without the digests that only a verification reads."""
    if isinstance(details, dict):
        text = ", ".join(
            f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in details.items()
            if name != "rows" and value not in (None, "", [], {})
        )
    else:  # whoever writes past the platform may write anything
        text = json.dumps(details, ensure_ascii=False)
    return text if len(text) <= MAX_DETAILS_LENGTH else f"{text[:MAX_DETAILS_LENGTH]}…"


def _log_state(connection: Connection, found: FoundEntries) -> LogState:
    """How the entries that are shown, the end of the log and its checkpoints stand to each other."""
    head, files = log_head(connection), checkpoint_files.list_files(connection)
    changed = sum(not each.is_intact for each in found.entries)
    sentences = [
        f"{changed} of the entries shown: not what was written, or the entry before is."
        if changed
        else "Each entry that is shown follows from the one before.",
        "The newest entry is the one that the chain's head names."
        if head.is_intact
        else "The newest entry is not the one that the chain's head names: entries were removed or added.",
    ]
    if not files:
        sentences.append("No checkpoint outside the database is known.")
    return LogState(not changed and head.is_intact, tuple(sentences), files[-1].at if files else None)


def _older_query(wanted: EntryFilter, older: int | None) -> str:
    """What the address of older entries ends with; empty at the beginning of the log."""
    if older is None:
        return ""
    texts = {"actor": wanted.actor, "action": wanted.action, "subject": wanted.subject}
    return urlencode({name: text for name, text in texts.items() if text} | {"before": str(older)})
