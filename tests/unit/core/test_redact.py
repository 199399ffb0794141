"""Receivers' words without the secrets of their addresses."""

import pytest

from mlplatform.network.redact import redact_secrets


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.test/services/T000/SECRETPART?token=abcdef",
        "https://user:SECRETPART@hooks.test/T000?q=abcdef",
        "tgram://T000:SECRETPART/abcdef",
        "mailto://me:SECRETPART@host.test?to=T000@x.test&from=abcdef",
    ],
)
def test_every_part_of_an_address_is_struck_out(url: str) -> None:
    told = redact_secrets(f"cannot POST {url}; token abcdef of T000 and SECRETPART are wrong", url)
    assert not [part for part in ("T000", "SECRETPART", "abcdef") if part in told]
    assert told.startswith("cannot POST ")


def test_an_encoded_secret_is_struck_out_in_both_spellings() -> None:
    told = redact_secrets("p%40ss and p@ss", "json://me:p%40ssword@host")
    assert told == "p%40ss and p@ss"
    assert redact_secrets("p%40ssword, p@ssword", "json://me:p%40ssword@host") == "***, p@***"


def test_what_is_no_part_of_the_address_stays() -> None:
    assert redact_secrets("no_service, error=503", "https://hooks.test/a/b") == "no_service, error=503"
