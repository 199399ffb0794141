"""The decision table: which cheque is accepted, which a person sees, which is refused, and why."""

from dataclasses import replace

import pytest

pytest.importorskip("cv2", reason="examples/cheques needs OpenCV (pip install opencv-python-headless)")

from cheques.code_line import CodeLine
from cheques.decision import Account, Evidence, Limits, decide, parse_amount
from cheques.errors import AmountError

LIMITS = Limits(threshold=0.9, largest_unseen=1_000, largest_lawful=50_000)
ACCOUNT = Account("26000012345678", "A. Example", True, 20_000)
GOOD = Evidence(CodeLine("004711", "2600", "0012345678"), "", "500", 0.95, ACCOUNT, "")
CLOSED = replace(ACCOUNT, is_open=False)
PERSON = {"seen_by_person": True, "confidence": 1.0}


@pytest.mark.parametrize(
    ("changed", "outcome", "rules"),
    [
        ({}, "accept", {"fits"}),
        ({"confidence": 0.9}, "accept", {"fits"}),
        ({"confidence": 0.8999}, "review", {"confidence"}),
        ({"amount_text": "", "confidence": 0.0}, "review", {"amount-form"}),
        ({"amount_text": "0"}, "review", {"amount-form"}),
        ({"amount_text": "1000"}, "accept", {"fits"}),
        ({"amount_text": "1001"}, "review", {"over-unseen"}),
        ({"amount_text": "1001", **PERSON}, "accept", {"fits"}),
        ({"amount_text": "20001"}, "refuse", {"over-account", "over-unseen"}),
        ({"amount_text": "20001", "confidence": 0.5}, "review", {"over-account", "over-unseen", "confidence"}),
        ({"amount_text": "20001", **PERSON}, "refuse", {"over-account"}),
        ({"amount_text": "50001", **PERSON}, "refuse", {"over-account", "over-law"}),
        ({"code": None, "code_fault": "smudged", "account": None}, "review", {"code-line"}),
        ({"account": None}, "refuse", {"account-unknown"}),
        ({"account": CLOSED}, "refuse", {"account-closed"}),
        ({"account": CLOSED, "confidence": 0.1}, "refuse", {"account-closed", "confidence"}),
        ({"presented_as": "another"}, "refuse", {"presented-before"}),
        ({"presented_as": "another", **PERSON}, "refuse", {"presented-before"}),
    ],
)
def test_each_finding_leads_to_its_outcome(changed: dict[str, object], outcome: str, rules: set[str]) -> None:
    decision = decide(replace(GOOD, **changed), LIMITS)  # type: ignore[arg-type]
    assert decision.outcome == outcome
    assert {reason.rule for reason in decision.reasons} == rules
    assert all(reason.text for reason in decision.reasons)


def test_an_amount_is_one_to_nine_digits_without_a_leading_zero() -> None:
    assert parse_amount(" 120 ") == 120
    assert parse_amount("999999999") == 999_999_999
    for text in ("", "0", "012", "1.20", "-5", "1234567890", "١٢٠", "1e3", "½"):
        with pytest.raises(AmountError, match="amount"):
            parse_amount(text)
