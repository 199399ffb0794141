"""An ID token is believed if the provider made it for this client and this sign-in, and not otherwise."""

import hmac
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from mlplatform.auth.oidc.id_token import ExpectedToken, person_groups, person_name, verify_id_token
from mlplatform.auth.oidc.provider_keys import ProviderKeys
from mlplatform.auth.sign_in_errors import ProviderUnavailableError, SignInRefusedError
from mlplatform.clock import EPOCH
from tests.support.oidc_provider import signing_key
from tests.support.platform_world import START

KEY, OTHER = signing_key("a"), signing_key("b")
EXPECTED = ExpectedToken("https://id.example.org", "client", "nonce-1")
NOW = int((START - EPOCH).total_seconds())
CLAIMS: dict[str, Any] = {
    "iss": EXPECTED.issuer,
    "sub": "subject",
    "aud": "client",
    "iat": NOW,
    "exp": NOW + 300,
    "nonce": "nonce-1",
}


def published(*keys: Any) -> ProviderKeys:  # noqa: ANN401 - a key of any kind
    return ProviderKeys(lambda: {"keys": [key.as_dict(private=False) for key in keys]}, lambda: 0.0)


def signed(key: Any = KEY, header: dict[str, Any] | None = None, **claims: object) -> str:  # noqa: ANN401
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode({"alg": "RS256", "kid": "a"} | (header or {}), said, key)


def verify(text: object, keys: ProviderKeys | None = None) -> dict[str, Any]:
    return verify_id_token(text, EXPECTED, (keys or published(KEY, OTHER)).find, START)


def test_a_good_token_gives_its_claims() -> None:
    assert verify(signed(email="ann@example.org"))["email"] == "ann@example.org"
    assert verify(signed(aud=["client"]))["aud"] == ["client"]
    assert verify(signed(aud=["client", "other"], azp="client"))["azp"] == "client"
    elliptic = ECKey.generate_key("P-256", {"kid": "e"})
    assert verify(signed(elliptic, {"alg": "ES256", "kid": "e"}), published(KEY, elliptic))["sub"] == "subject"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.org"},
        {"iss": "https://id.example.org/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": []},
        {"aud": ["client", "other"]},
        {"aud": ["client", "other"], "azp": "other"},
        {"azp": "other"},
        {"aud": None},
        {"nonce": "nonce-2"},
        {"nonce": None},
        {"nonce": ["nonce-1"]},
        {"exp": NOW - 121},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"iat": NOW + 121},
        {"iat": None},
        {"nbf": NOW + 121},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": ["subject"]},
        {"sub": "a\0b"},
        {"sub": "a\nb"},
        {"sub": "x" * 256},
    ],
    ids=repr,
)
def test_a_token_for_somebody_else_or_another_time_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(SignInRefusedError):
        verify(signed(**claims))


def test_clocks_may_differ_by_two_minutes() -> None:
    assert verify(signed(exp=NOW - 119, iat=NOW + 119, nbf=NOW + 119))


def unsigned(header: dict[str, object]) -> str:
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, CLAIMS)]
    return f"{parts[0]}.{parts[1]}."


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", None, "HS256", ["RS256"]], ids=repr)
def test_a_token_that_is_not_signed_by_a_key_of_the_provider_alone_is_refused(name: object) -> None:
    with pytest.raises(SignInRefusedError, match="must use one of RS256"):
        verify(unsigned({"alg": name, "kid": "a"}))


def test_the_public_key_is_no_shared_secret() -> None:
    content = unsigned({"alg": "HS256", "kid": "a"}).removesuffix(".")
    made = hmac.new(KEY.as_pem(private=False), content.encode(), sha256).digest()
    forged = f"{content}.{urlsafe_b64encode(made).decode().rstrip('=')}"
    with pytest.raises(SignInRefusedError, match="must use one of RS256"):
        verify(forged)
    shared = OctKey.import_key("a secret of at least thirty-two bytes", {"kid": "o"})
    listed = ProviderKeys(lambda: {"keys": [shared.as_dict(), KEY.as_dict(private=False)]}, lambda: 0.0)
    with pytest.raises(SignInRefusedError, match="does not publish"):
        verify(signed(header={"kid": "o"}), listed)


def test_a_token_signed_by_another_key_or_changed_afterwards_is_refused() -> None:
    with pytest.raises(SignInRefusedError, match="cannot be believed"):
        verify(signed(OTHER, {"kid": "a"}))
    head, body, signature = signed().split(".")
    forged = urlsafe_b64encode(json.dumps(CLAIMS | {"sub": "admin"}).encode()).decode().rstrip("=")
    for text in (
        f"{head}.{forged}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature[:-9]}",
    ):
        with pytest.raises(SignInRefusedError):
            verify(text)
    carried = {"jwk": OTHER.as_dict(private=False)}
    with pytest.raises(SignInRefusedError):
        verify(jwt.encode({"alg": "RS256", "kid": "a"} | carried, CLAIMS, OTHER))


@pytest.mark.parametrize("deep", ["[" * 20_000, '{"alg": "RS256", "kid": "a", "x": ' + "[" * 20_000], ids=["a", "b"])
def test_what_is_nested_without_end_is_refused(deep: str) -> None:
    with pytest.raises(SignInRefusedError, match="cannot be read"):
        verify(f"{urlsafe_b64encode(deep.encode()).decode().rstrip('=')}.e30.e30")
    with pytest.raises(SignInRefusedError, match="cannot be believed"):
        verify(jws.serialize_compact({"alg": "RS256", "kid": "a"}, deep.encode(), KEY))


@pytest.mark.parametrize("text", [None, "", "a", "a.b.c", "....", "x" * 70_000, {"a": 1}, "é.é.é", "e30.e30.e30"])
def test_what_is_no_token_is_refused(text: object) -> None:
    with pytest.raises(SignInRefusedError):
        verify(text)


def test_an_unknown_key_is_looked_for_again_but_not_each_time() -> None:
    now, keys, asked = [0.0], [KEY], []

    def fetch() -> dict[str, Any]:
        asked.append(now[0])
        return {"keys": [key.as_dict(private=False) for key in keys]}

    known = ProviderKeys(fetch, lambda: now[0])
    verify(signed(), known)
    keys[:] = [OTHER]
    for _ in range(50):
        with pytest.raises(SignInRefusedError, match="does not publish; sign in again in a minute"):
            verify(signed(OTHER, {"kid": "b"}), known)
    assert asked == [0.0]
    now[0] = 31.0
    assert verify(signed(OTHER, {"kid": "b"}), known)
    for _ in range(50):
        with pytest.raises(SignInRefusedError):
            verify(signed(OTHER, {"kid": "made up"}), known)
    assert asked == [0.0, 31.0]
    now[0] = 31.0 + 3601.0
    verify(signed(OTHER, {"kid": "b"}), known)
    assert len(asked) == 3


def test_keys_that_cannot_be_read_are_asked_for_again_after_a_while() -> None:
    now, asked = [0.0], []

    def fetch() -> dict[str, Any]:
        asked.append(now[0])
        if now[0] < 5.0:
            raise ProviderUnavailableError("the provider does not answer")
        return {"keys": [KEY.as_dict(private=False)]}

    keys = ProviderKeys(fetch, lambda: now[0])
    for moment in (0.0, 1.0, 4.9):
        now[0] = moment
        with pytest.raises(ProviderUnavailableError, match="does not answer"):
            keys.find("a")
    assert asked == [0.0]
    now[0] = 5.0
    assert keys.find("a").kid == "a"
    assert asked == [0.0, 5.0]


def test_keys_that_cannot_sign_are_passed_over() -> None:
    bad = [{"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": 2}, "text", None, 7, {"kty": "EC", "crv": "?"}, {}]
    enciphering = signing_key("enc").as_dict(private=False) | {"use": "enc"}
    private = RSAKey.generate_key(2048, {"kid": "p"}).as_dict(private=True)
    keys = ProviderKeys(lambda: {"keys": [*bad, enciphering, private, KEY.as_dict(private=False)]}, lambda: 0.0)
    assert keys.find("a").kid == "a"
    assert keys.find(None).kid == "a"
    for name in ("enc", "p"):
        with pytest.raises(SignInRefusedError):
            keys.find(name)
    answers: list[dict[str, Any]] = [{}, {"keys": None}, {"keys": {}}]
    while answers:
        with pytest.raises(SignInRefusedError):
            ProviderKeys(answers.pop, lambda: 0.0).find("a")
    with pytest.raises(SignInRefusedError):
        published(KEY, OTHER).find(None)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({}, "has no claim 'email'"),
        ({"email": "  "}, "has no claim 'email'"),
        ({"email": ["ann"]}, "has no claim 'email'"),
        ({"email": "a" * 101}, "no printable text"),
        ({"email": "ann\u202e@example.org"}, "no printable text"),
        ({"email": "ann@example.org", "email_verified": False}, "has not verified"),
        ({"email": "ann@example.org", "email_verified": "false"}, "has not verified"),
    ],
)
def test_somebody_without_a_name_for_the_audit_log_is_refused(claims: dict[str, object], said: str) -> None:
    with pytest.raises(SignInRefusedError, match=said):
        person_name(claims, "email")


def test_names_and_groups_are_read_by_the_claims_of_the_settings() -> None:
    assert person_name({"preferred_username": " ann "}, "preferred_username") == "ann"
    assert person_name({"email": "ann@example.org"}, "email") == "ann@example.org"
    assert person_groups({"roles": ["a", 7, None, "b"]}, "roles") == ["a", "b"]
    assert person_groups({"roles": "a"}, "roles") == ["a"]
    assert person_groups({"roles": {"a": 1}}, "roles") == []
    assert person_groups({}, "roles") == []


def test_times_are_held_against_the_given_clock() -> None:
    with pytest.raises(SignInRefusedError, match="has expired"):
        verify_id_token(signed(), EXPECTED, published(KEY).find, START + timedelta(hours=1))
