"""Verifies the audit trail: every link, and all that it vouches for against what stands in the database.

Cheques, their pictures, the holds on their code lines, accounts and labels are compared with what the entries say of
them, so that none of these can be changed behind the trail's back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, Text, cast, select

from cheques.audit_chain import GENESIS, HEAD, cheque_digest, details_of, link_of
from cheques.store import accounts, audit_entries, audit_head, cheques, labels, pictures, presentations

AT_ONCE: Final = 1000
PICTURES_AT_ONCE: Final = 50


@dataclass(frozen=True)
class AuditReport:
    """What a verification found: entries and cheques looked at, the head's hash, and every fault."""

    entries: int
    cheques: int
    head: str
    faults: tuple[str, ...]


@dataclass
class _Vouched:
    """What the entries say: the digest of each cheque, each account, and what a person read on a cheque."""

    digests: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def add(self, action: str, subject: str, details: dict[str, Any]) -> None:
        """Take in one entry; a later one of the same cheque or account counts."""
        if action in ("presented", "reviewed"):
            self.digests[subject] = str(details.get("digest", ""))
        if action == "account":
            self.accounts[subject] = details
        if action in ("reviewed", "checked"):
            self.seen[subject] = str(details.get("amount" if action == "reviewed" else "seen", ""))


def verify(connection: Connection, expected_head: str = "", *, with_pictures: bool = False) -> AuditReport:
    """Recompute every link, and hold what stands in the database against the entries.

    `with_pictures` reads every picture as well, which takes long where there are many.
    """
    vouched, faults = _Vouched(), list[str]()
    number, head = _verify_links(connection, expected_head, vouched, faults)
    count, holds, flats = 0, dict[str, str](), dict[str, str]()
    for row in _all_cheques(connection, faults):
        count += 1
        digest = vouched.digests.pop(row["id"], None)
        if digest is None:
            faults.append(f"cheque {row['id']} was decided by nobody: no entry says so")
        elif digest != cheque_digest(row):
            faults.append(f"cheque {row['id']} is not what was decided")
        flats[row["id"]] = str(row["reading"].get("flat", ""))
        if row["code"] and row["outcome"] != "refuse":
            if row["code"] in holds:
                faults.append(f"cheques {holds[row['code']]} and {row['id']} were both taken with code {row['code']}")
            holds[row["code"]] = row["id"]
    faults += [f"cheque {cheque_id} is gone, and an entry says that it was decided" for cheque_id in vouched.digests]
    faults += _wrong_holds(connection, holds)
    faults += _wrong_accounts(connection, vouched)
    faults += _wrong_labels(connection, vouched)
    if with_pictures:
        faults += _wrong_pictures(connection, flats)
    return AuditReport(number, count, head, tuple(faults))


def _verify_links(connection: Connection, expected_head: str, vouched: _Vouched, faults: list[str]) -> tuple[int, str]:
    """Follow the chain; returns the last entry's number and hash."""
    number, previous = 0, GENESIS
    is_head_seen = not expected_head or expected_head == GENESIS
    query = select(audit_entries).order_by(audit_entries.c.number).execution_options(yield_per=AT_ONCE)
    for found in connection.execute(query):
        row = dict(found._mapping)
        if row["number"] != number + 1:
            faults.append(f"entries {number + 1} to {row['number'] - 1} were removed")
        elif link_of(previous, row) != row["hash"]:
            faults.append(f"entry {row['number']} ({row['action']} {row['subject']}) is not what was written")
        number, previous = row["number"], row["hash"]
        is_head_seen = is_head_seen or previous == expected_head
        vouched.add(row["action"], row["subject"], details_of(row))
    head = connection.execute(select(audit_head).where(audit_head.c.name == HEAD)).one_or_none()
    if (head is None and number) or (head is not None and (head.number, head.hash) != (number, previous)):
        faults.append(f"entry {number} is the last, and the head of the chain says otherwise: entries were removed")
    if not is_head_seen:
        faults.append(f"no entry has the hash {expected_head}: the trail was written anew, or cut off before it")
    return number, previous


def _all_cheques(connection: Connection, faults: list[str]) -> Iterator[dict[str, Any]]:
    """Every cheque, its documents read here, so that one that is broken is a fault and not the end."""
    texts = [cast(cheques.c[name], Text).label(name) for name in ("reasons", "reading")]
    others = [column for column in cheques.c if column.name not in ("reasons", "reading")]
    for found in connection.execute(select(*others, *texts).execution_options(yield_per=AT_ONCE)):
        row = dict(found._mapping)
        try:
            row |= {name: json.loads(row[name]) for name in ("reasons", "reading")}
        except ValueError:
            faults.append(f"cheque {row['id']} has reasons or a reading that are no JSON")
        yield row if isinstance(row["reading"], dict) else row | {"reading": {}}


def _wrong_holds(connection: Connection, expected: dict[str, str]) -> list[str]:
    """Cheques that could be paid twice, as nothing holds their code line, and holds that no cheque has."""
    held: dict[str, str] = {row.code: row.cheque_id for row in connection.execute(select(presentations))}
    free = [
        f"cheque {cheque_id} does not hold its code line {code}: it could be presented again"
        for code, cheque_id in expected.items()
        if held.get(code) != cheque_id
    ]
    return free + [f"code line {code} is held by no cheque that was taken" for code in held.keys() - expected.keys()]


def _wrong_accounts(connection: Connection, vouched: _Vouched) -> list[str]:
    """Accounts that are not as the entries left them."""
    found = {row.key: dict(row._mapping) for row in connection.execute(select(accounts))}
    keys = sorted(found.keys() | vouched.accounts.keys())
    return [f"account {key} is not as the trail says" for key in keys if found.get(key) != vouched.accounts.get(key)]


def _wrong_labels(connection: Connection, vouched: _Vouched) -> list[str]:
    """Labels that are not what a person read, as their entry says."""
    return [
        f"the label of cheque {row.cheque_id} is not what a person read"
        for row in connection.execute(select(labels.c.cheque_id, labels.c.label))
        if vouched.seen.get(row.cheque_id) != row.label
    ]


def _wrong_pictures(connection: Connection, expected: dict[str, str]) -> list[str]:
    """Pictures that are not those on which was decided."""
    faults, missing = [], set(expected)
    for row in connection.execute(select(pictures).execution_options(yield_per=PICTURES_AT_ONCE)):
        missing.discard(row.cheque_id)
        if expected.get(row.cheque_id) != sha256(row.flat).hexdigest():
            faults.append(f"the picture of cheque {row.cheque_id} is not the one that was decided on")
    return faults + [f"the picture of cheque {cheque_id} is gone" for cheque_id in sorted(missing)]
