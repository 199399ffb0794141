"""A key is a text that proves itself; slips are found before anything is looked up."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.auth.api_key import ApiKey, generate, parse
from tests.support.platform_world import START

TEXT, SHOWN = generate()
KEY = ApiKey(SHOWN.id, "ada", SHOWN.digest, ("predict",), START, "cli")


def test_a_fresh_key_reads_as_itself_and_holds_its_secret_nowhere_else() -> None:
    shown = parse(TEXT)
    assert shown == SHOWN
    assert shown.matches(KEY)
    assert TEXT.split("_")[2] not in repr(KEY)
    assert len({generate()[0] for _ in range(50)}) == 50


@pytest.mark.parametrize("at", range(len(TEXT)))
def test_a_key_with_one_letter_wrong_is_no_key(at: int) -> None:
    wrong = "x" if TEXT[at] != "x" else "y"
    assert parse(TEXT[:at] + wrong + TEXT[at + 1 :]) is None


@given(st.text(max_size=100))
def test_no_text_is_read_as_a_key_by_accident(text: str) -> None:
    assert parse(text) is None
    assert parse(TEXT[:-1] + text) in (None, SHOWN)


def test_a_key_with_the_id_of_another_does_not_prove_it() -> None:
    _, other = generate()
    assert not replace(other, id=KEY.id).matches(KEY)


def test_a_key_is_dead_once_revoked_or_expired() -> None:
    assert KEY.inactive_reason(START) == ""
    assert replace(KEY, expires_at=START).inactive_reason(START - timedelta(seconds=1)) == ""
    assert replace(KEY, expires_at=START).inactive_reason(START) == "expired"
    assert replace(KEY, expires_at=START, revoked_at=START).inactive_reason(START) == "revoked"
