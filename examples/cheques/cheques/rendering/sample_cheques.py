"""Renders cheques for trying the application: pictures, what is true of each, and a table of accounts that fits."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cheques.account_table import COLUMNS
from cheques.code_line import CodeLine
from cheques.decision import Account
from cheques.rendering.cheque_form import ChequeText, draw_cheque
from cheques.rendering.handwriting import AmountWriter, WrittenAmount
from cheques.rendering.photograph import photograph, scanner_shot, telephone_shot

BANK = "2600"
HOLDERS = ("A. Example", "B. Sample", "C. Specimen", "D. Muster", "E. Ejemplo")
CLOSED_EVERY, SMALL_EVERY, SCANNED_EVERY = 20, 10, 3
SMALL_LIMIT, USUAL_LIMIT = 500, 1_000_000_000


@dataclass(frozen=True, eq=False)
class SampleCheque:
    """A rendered picture and what is true of it."""

    picture: bytes
    amount: str
    code: CodeLine


def sample_accounts(count: int = 100) -> tuple[Account, ...]:
    """Accounts by number: every twentieth is closed, every tenth has a small limit."""
    return tuple(
        Account(
            f"{BANK}{1_000_000 + 7_919 * number:010d}",
            HOLDERS[number % len(HOLDERS)],
            number % CLOSED_EVERY != CLOSED_EVERY - 1,
            SMALL_LIMIT if number % SMALL_EVERY == SMALL_EVERY - 2 else USUAL_LIMIT,
        )
        for number in range(count)
    )


def sample_cheques(
    writer: AmountWriter,
    accounts: tuple[Account, ...],
    count: int,
    seed: int = 0,
    pen: Callable[[WrittenAmount], WrittenAmount] = lambda amount: amount,
) -> Iterator[SampleCheque]:
    """So many cheques, each with a serial number of its own; a third is scanned, the others photographed by hand."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        amount = pen(writer(rng))
        account = accounts[int(rng.integers(len(accounts)))]
        code = CodeLine(f"{(seed * 10_007 + number) % 1_000_000:06d}", account.key[:4], account.key[4:])
        drawn = draw_cheque(amount, ChequeText(code, account.holder), rng)
        shot = scanner_shot(rng) if number % SCANNED_EVERY == 0 else telephone_shot(rng)
        yield SampleCheque(photograph(drawn, shot, rng), amount.text, code)


def write_samples(folder: Path, cheques: Iterator[SampleCheque], accounts: tuple[Account, ...]) -> int:
    """Write pictures, `truths.jsonl` and `accounts.csv` into a folder; returns how many pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "accounts.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for account in accounts:
            rows.writerow([account.key, account.holder, "yes" if account.is_open else "no", account.largest_cheque])
    count = 0
    with (folder / "truths.jsonl").open("w", encoding="utf-8") as truths:
        for count, cheque in enumerate(cheques, start=1):
            name = f"cheque-{count:04d}.jpg"
            (folder / name).write_bytes(cheque.picture)
            truths.write(json.dumps({"file": name, "amount": cheque.amount, "code": cheque.code.text}) + "\n")
    return count
