"""The table of accounts: read one, and take many from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select, update

from cheques import audit_chain
from cheques.code_line import ACCOUNT_DIGITS, BANK_DIGITS
from cheques.decision import Account
from cheques.errors import AccountsError
from cheques.store import accounts, insert_new

COLUMNS: Final = ("account", "holder", "open", "largest_cheque")
KEY_DIGITS: Final = BANK_DIGITS + ACCOUNT_DIGITS
MAX_LIMIT: Final = 10**12


def find_account(connection: Connection, key: str, *, lock: bool = False) -> Account | None:
    """The account with this key; with `lock`, nobody changes it until the transaction ends."""
    query = select(accounts).where(accounts.c.key == key)
    row = connection.execute(query.with_for_update(read=True) if lock else query).one_or_none()
    return None if row is None else Account(row.key, row.holder, row.is_open, row.largest_cheque)


def count_accounts(connection: Connection) -> int:
    """How many accounts there are."""
    return connection.scalar(select(func.count()).select_from(accounts)) or 0


def put_accounts(connection: Connection, given: Iterable[Account], actor: str, at: datetime) -> int:
    """Write accounts, in place of those with the same key; the trail says which. Returns how many."""
    ordered = sorted(
        given, key=lambda each: each.key
    )  # in one order, and the trail last: two at once wait, and no more
    for account in ordered:
        if not insert_new(connection, accounts, vars(account)):
            connection.execute(update(accounts).where(accounts.c.key == account.key).values(vars(account)))
    for account in ordered:
        audit_chain.append(connection, at, actor, "account", account.key, vars(account))
    return len(ordered)


def parse_accounts(lines: Iterable[str]) -> list[Account]:
    """The accounts of a CSV file with a header; raises AccountsError naming line and value."""
    try:
        return _accounts(csv.DictReader(lines, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise AccountsError(f"the accounts cannot be read ({error}); give a CSV file in UTF-8") from error


def _accounts(reader: csv.DictReader[str]) -> list[Account]:
    if reader.fieldnames is None or set(reader.fieldnames) != set(COLUMNS):
        raise AccountsError(f"the header is {reader.fieldnames}; give the columns {', '.join(COLUMNS)}")
    found: dict[str, Account] = {}
    for row in reader:
        number = reader.line_num
        account = _account(row, f"line {number}")
        if account.key in found:
            raise AccountsError(f"line {number}: account {account.key} stands twice; give each once")
        found[account.key] = account
    return list(found.values())


def _account(row: dict[str, str | None], where: str) -> Account:
    key, is_open, limit = ((row[name] or "").strip() for name in ("account", "open", "largest_cheque"))
    if not (key.isascii() and key.isdecimal() and len(key) == KEY_DIGITS):
        raise AccountsError(f"{where}: account {key[:40]!r}; give bank and account as {KEY_DIGITS} digits")
    if is_open not in ("yes", "no"):
        raise AccountsError(f"{where}: open is {is_open[:40]!r}; give yes or no")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 13 and int(limit) <= MAX_LIMIT):
        raise AccountsError(f"{where}: largest_cheque is {limit[:40]!r}; give a whole number up to {MAX_LIMIT}")
    holder = row["holder"] or ""
    if not holder.isprintable() or None in row:  # a zero byte, say, which PostgreSQL does not take
        raise AccountsError(f"{where}: holder {holder[:40]!r} or what follows the last column; give four plain columns")
    return Account(key, holder, is_open == "yes", int(limit))
