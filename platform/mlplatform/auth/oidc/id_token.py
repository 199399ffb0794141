"""Checks ID tokens: signature, issuer, audience, times and nonce; and reads who somebody is from their claims."""

import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError

from mlplatform.auth.oidc.provider_keys import SignatureKey
from mlplatform.auth.sign_in_errors import SignInRefusedError
from mlplatform.clock import EPOCH

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures by a key that only the provider has: neither `none`, nor those by a shared secret."""
CLOCK_SKEW_SECONDS: Final = 120
MAX_TOKEN_LENGTH: Final = 65_536
MAX_NAME_LENGTH: Final = 100
MAX_SUBJECT_LENGTH: Final = 255


@dataclass(frozen=True)
class ExpectedToken:
    """What an ID token must say to be for this sign-in."""

    issuer: str
    client_id: str
    nonce: str


def verify_id_token(
    text: object, expected: ExpectedToken, find_key: Callable[[str | None], SignatureKey], now: datetime
) -> dict[str, Any]:
    """The claims of a token that the provider made for this client and this sign-in.

    Raises SignInRefusedError for any other token.
    """
    if not isinstance(text, str) or len(text) > MAX_TOKEN_LENGTH:
        raise SignInRefusedError("the provider sent no ID token; is `openid` among PLATFORM_OIDC_SCOPE?")
    header = _unverified_header(text)
    if header.get("alg") not in ALGORITHMS:
        raise SignInRefusedError(
            f"the ID token is signed by {str(header.get('alg'))[:20]!r}; the provider must use one of "
            f"{', '.join(ALGORITHMS)}"
        )
    key = find_key(header.get("kid"))
    try:
        token = jwt.decode(text, key, algorithms=ALGORITHMS)
        claims = CodeIDToken(
            token.claims,
            token.header,
            {
                "iss": {"essential": True, "value": expected.issuer},
                "aud": {"essential": True, "value": expected.client_id},
            },
            {"nonce": expected.nonce, "client_id": expected.client_id},
        )
        claims.validate(now=int((now - EPOCH).total_seconds()), leeway=CLOCK_SKEW_SECONDS)
    except ExpiredTokenError as error:
        raise SignInRefusedError(
            "the ID token has expired; sign in again, and compare this server's clock with the provider's"
        ) from error
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise SignInRefusedError(f"the ID token cannot be believed ({str(error)[:200]}); sign in again") from error
    _check_recipient(claims, expected)
    return dict(claims)


def person_name(claims: Mapping[str, Any], claim: str) -> str:
    """The name that the audit log will know somebody by; raises SignInRefusedError where the token gives none."""
    name = claims.get(claim)
    if not isinstance(name, str) or not name.strip():
        raise SignInRefusedError(
            f"the ID token has no claim {claim!r}, which names people in the audit log; let the provider send it, or "
            "name another in PLATFORM_OIDC_NAME_CLAIM"
        )
    name = name.strip()
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise SignInRefusedError(
            f"the claim {claim!r} is no printable text of 1 to {MAX_NAME_LENGTH} characters; have it changed at the "
            "provider"
        )
    if claim == "email" and claims.get("email_verified", True) not in (True, "true"):
        raise SignInRefusedError("the provider has not verified the e-mail address; verify it there and sign in again")
    return name


def person_groups(claims: Mapping[str, Any], claim: str) -> list[str]:
    """The groups that the token lists; a single text is one group."""
    listed = claims.get(claim, [])
    entries = listed if isinstance(listed, list) else [listed]
    return [entry for entry in entries if isinstance(entry, str)]


def _unverified_header(text: str) -> dict[str, Any]:
    """What the token says of its own signature, which is held against what may be, and believed in nothing."""
    encoded = text.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError) as error:
        raise SignInRefusedError("the ID token cannot be read; sign in again") from error
    if not isinstance(header, dict) or not isinstance(header.get("kid"), str | None):
        raise SignInRefusedError("the ID token cannot be read; sign in again")
    return header


def _check_recipient(claims: Mapping[str, Any], expected: ExpectedToken) -> None:
    """What Authlib leaves to its caller: a nonce that is no text, several audiences, a subject that is too long."""
    nonce, audience, subject = claims.get("nonce"), claims["aud"], claims["sub"]
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise SignInRefusedError("the ID token is for another sign-in (nonce); sign in again")
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != expected.client_id:
        raise SignInRefusedError("the ID token is for several clients and was not issued to this one (azp)")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise SignInRefusedError(
            f"the ID token's subject must be a printable text of 1 to {MAX_SUBJECT_LENGTH} characters"
        )
