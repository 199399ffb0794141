"""Decides what becomes of a cheque: accept, review or refuse, with every reason. No database, no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cheques.code_line import CodeLine
from cheques.errors import AmountError

Outcome = Literal["accept", "review", "refuse"]
REFUSED_FOR_ITSELF: Final = frozenset({"person", "over-law", "over-account"})
"""Rules that refuse what is written on a cheque; the others refuse for its account or another cheque."""
MAX_DIGITS: Final = 9


@dataclass(frozen=True)
class Account:
    """A row of the table of accounts."""

    key: str
    holder: str
    is_open: bool
    largest_cheque: int


@dataclass(frozen=True)
class Limits:
    """What the bank allows; see the settings of the same names."""

    threshold: float
    largest_unseen: int
    largest_lawful: int


@dataclass(frozen=True)
class Evidence:
    """What is known of a cheque when it is decided. `confidence` is 1 where a person read the amount.

    `amount` is None where none was read; `account` where the code line names none that exists; `presented_as` is
    another cheque with the same code line that is accepted or waits, `refused_as` one that a person or a limit refused;
    "" where there is none.
    """

    code: CodeLine | None
    code_fault: str
    amount_text: str
    confidence: float
    account: Account | None
    presented_as: str
    refused_as: str = ""
    seen_by_person: bool = False


@dataclass(frozen=True)
class Reason:
    """One finding: a rule's name, what it found, and what it asks for."""

    rule: str
    text: str
    outcome: Outcome


@dataclass(frozen=True)
class Decision:
    """The strictest of what all rules ask for, and all their findings."""

    outcome: Outcome
    reasons: tuple[Reason, ...]


def parse_amount(text: str) -> int:
    """An amount as digits: 1 to 9 of them, no zero in front of others, and not nothing; raises AmountError."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS):
        raise AmountError(f"amount {text[:40]!r}: give 1 to {MAX_DIGITS} digits, without dots or cents")
    if digits[0] == "0":
        raise AmountError(f"amount {text[:40]!r} begins with a zero; give it without, and more than nothing")
    return int(digits)


def decide(evidence: Evidence, limits: Limits) -> Decision:
    """What becomes of a cheque: what no rule objects to is accepted."""
    reasons = [*_about_code_line(evidence), *_about_amount(evidence, limits)]
    for outcome in ("refuse", "review"):
        if any(reason.outcome == outcome for reason in reasons):
            return Decision(outcome, tuple(reasons))
    who = "a person" if evidence.seen_by_person else f"the model with confidence {evidence.confidence:.3f}"
    fits = Reason("fits", f"read by {who}; account, limits and code line are in order", "accept")
    return Decision("accept", (fits,))


def _about_code_line(evidence: Evidence) -> list[Reason]:
    """What the printed line, the account behind it and cheques before this one say."""
    if evidence.code is None:
        return [Reason("code-line", evidence.code_fault or "no code line was read", "review")]
    key, account = evidence.code.account_key, evidence.account
    reasons = []
    if account is None:
        reasons.append(Reason("account-unknown", f"account {key} does not exist", "refuse"))
    elif not account.is_open:
        reasons.append(Reason("account-closed", f"account {key} is closed", "refuse"))
    if evidence.presented_as:
        text = f"cheque {evidence.code.serial} of account {key} was presented before, as {evidence.presented_as}"
        reasons.append(Reason("presented-before", text, "refuse"))
    if evidence.refused_as and not evidence.seen_by_person:  # or it would be sent until it is misread as less
        text = f"it was refused before, as {evidence.refused_as}, by a person or for its amount: a person must look"
        reasons.append(Reason("refused-before", text, "review"))
    return reasons


def _about_amount(evidence: Evidence, limits: Limits) -> list[Reason]:
    """What the amount is, how sure it is, and whether it is within every limit."""
    try:
        amount = parse_amount(evidence.amount_text)
    except AmountError as error:
        text = str(error) if evidence.amount_text else "no amount was read in the field"
        return [Reason("amount-form", text, "review")]
    is_sure = evidence.seen_by_person or evidence.confidence >= limits.threshold
    over: Outcome = "refuse" if is_sure else "review"
    reasons = []
    if not is_sure:
        text = f"confidence {evidence.confidence:.3f} of the amount is below {limits.threshold:.3f}"
        reasons.append(Reason("confidence", text, "review"))
    if amount > limits.largest_lawful:
        reasons.append(Reason("over-law", f"{amount} is over the lawful {limits.largest_lawful} of a cheque", over))
    if evidence.account is not None and amount > evidence.account.largest_cheque:
        text = f"{amount} is over the account's limit of {evidence.account.largest_cheque}"
        reasons.append(Reason("over-account", text, over))
    if amount > limits.largest_unseen and not evidence.seen_by_person:
        text = f"{amount} is over {limits.largest_unseen}, up to which no person looks"
        reasons.append(Reason("over-unseen", text, "review"))
    return reasons
