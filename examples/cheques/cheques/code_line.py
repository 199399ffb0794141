"""The code line of a cheque: serial number, bank and account, with two check digits over all of them.

    004711<26000012345678<93        serial (6) < bank (4) account (10) < check (2)

The check digits are those of ISO 7064 MOD 97-10, as in IBANs: every single wrong digit and every swap of two digits
is seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cheques.errors import CodeLineError

SEPARATOR: Final = "<"
ALPHABET: Final = "0123456789" + SEPARATOR
SERIAL_DIGITS, BANK_DIGITS, ACCOUNT_DIGITS, CHECK_DIGITS = 6, 4, 10, 2
LENGTH: Final = SERIAL_DIGITS + BANK_DIGITS + ACCOUNT_DIGITS + CHECK_DIGITS + 2
_FORM: Final = re.compile(r"([0-9]{6})<([0-9]{4})([0-9]{10})<([0-9]{2})")


@dataclass(frozen=True)
class CodeLine:
    """What identifies a cheque."""

    serial: str
    bank: str
    account: str

    @property
    def account_key(self) -> str:
        """Bank and account, as the table of accounts names them."""
        return self.bank + self.account

    @property
    def text(self) -> str:
        """The line as it is printed."""
        body = self.serial + self.bank + self.account
        return f"{self.serial}{SEPARATOR}{self.bank}{self.account}{SEPARATOR}{_check_digits(body)}"


def parse_code_line(text: str) -> CodeLine:
    """The cheque that a printed line names; raises CodeLineError."""
    matched = _FORM.fullmatch("".join(text.split()))
    if matched is None:
        raise CodeLineError(
            f"code line {text[:60]!r} is not of the form 004711<26000012345678<93: six digits, <, fourteen digits, <, "
            "two digits"
        )
    serial, bank, account, check = matched.groups()
    if _check_digits(serial + bank + account) != check:
        raise CodeLineError(f"code line {text[:60]!r}: check digits {check} do not fit; compare each digit")
    return CodeLine(serial, bank, account)


def _check_digits(body: str) -> str:
    return f"{98 - int(body + '00') % 97:02d}"
