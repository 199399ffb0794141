"""The steps of a sign-in: send the browser to the provider, take what it brings back, and begin a session.

What must be the same at both ends (state, nonce, PKCE's verifier) lies signed in a cookie of the browser, so another
browser cannot end what this one began. A sign-in ends once: its id is noted in the database.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mlplatform.auth import spent_tokens
from mlplatform.auth.oidc.id_token import ExpectedToken, person_groups, person_name, verify_id_token
from mlplatform.auth.oidc.provider import OidcProvider
from mlplatform.auth.return_paths import own_path
from mlplatform.auth.sessions import Person, Session, Sessions
from mlplatform.auth.sign_in_errors import SignInRefusedError
from mlplatform.clock import EPOCH, Clock
from mlplatform.store.database import Database

PURPOSE: Final = "sign-in"
ATTEMPT_LIFETIME: Final = timedelta(minutes=10)
MAX_CODE_LENGTH: Final = 4096
REFUSALS: Final = {
    "access_denied": "the provider or you refused the sign-in; ask whoever runs the provider for access",
    "login_required": "the provider wants you to sign in there first; try again",
    "temporarily_unavailable": "the provider is overloaded; try again in a while",
}


@dataclass(frozen=True)
class SignedIn:
    """A session that was begun, the text that shows it, and where the person wanted to go."""

    session: Session
    text: str
    path: str


class SignIn:
    """Begins and completes the sign-ins of one server; threads may share it."""

    def __init__(
        self,
        database: Callable[[], Database],
        clock: Clock,
        provider: OidcProvider,
        sessions: Sessions,
        *,
        name_claim: str,
        groups_claim: str,
    ) -> None:
        self._database, self._clock, self.provider, self.sessions = database, clock, provider, sessions
        self._name_claim, self._groups_claim = name_claim, groups_claim

    def begin(self, path: str) -> tuple[str, str]:
        """Where to send a browser, and what it must keep meanwhile; raises ProviderUnavailableError."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        until = int((self._clock() + ATTEMPT_LIFETIME - EPOCH).total_seconds())
        address = self.provider.authorization_url(state, nonce, verifier)
        attempt = {"state": state, "nonce": nonce, "verifier": verifier, "until": until, "path": own_path(path)}
        return address, self.sessions.signer.seal(PURPOSE, attempt)

    def complete(self, kept: str, brought: Mapping[str, str]) -> SignedIn:
        """The session of whoever comes back from the provider with what their browser kept.

        Raises SignInRefusedError, and ProviderUnavailableError.
        """
        attempt = self.sessions.signer.unseal(PURPOSE, kept)
        if attempt is None:
            raise SignInRefusedError("this browser began no sign-in here, or it forgot; sign in again")
        if not hmac.compare_digest(brought.get("state", "").encode(), attempt["state"].encode()):
            raise SignInRefusedError("this answer is for another sign-in, perhaps of another tab; sign in again")
        until = EPOCH + timedelta(seconds=attempt["until"])
        if until < self._clock():
            raise SignInRefusedError("the sign-in took longer than ten minutes; sign in again")
        self._spend(attempt["state"])
        if "error" in brought:
            raise SignInRefusedError(REFUSALS.get(brought["error"], "the provider refused the sign-in; try again"))
        code = brought.get("code", "")
        if not 0 < len(code) <= MAX_CODE_LENGTH:
            raise SignInRefusedError("the provider sent no code; sign in again")
        person = self._person(self.provider.exchange(code, attempt["verifier"]), attempt["nonce"])
        session, text = self.sessions.begin(person)
        return SignedIn(session, text, own_path(attempt["path"]))

    def _spend(self, state: str) -> None:
        """Raise SignInRefusedError for a sign-in that was completed before."""
        now = self._clock()
        with self._database().write() as connection:
            is_first = spent_tokens.spend(connection, state, now + 2 * ATTEMPT_LIFETIME, now)
        if not is_first:
            raise SignInRefusedError("this sign-in was completed before; sign in again")

    def _person(self, id_token: object, nonce: str) -> Person:
        expected = ExpectedToken(self.provider.issuer, self.provider.registration.client_id, nonce)
        claims = verify_id_token(id_token, expected, self.provider.keys.find, self._clock())
        listed = person_groups(claims, self._groups_claim)
        name = person_name(claims, self._name_claim)
        groups = self.sessions.groups_with_scopes(listed)
        if not groups:
            raise SignInRefusedError(
                f"{name} is in none of the groups that may do something here (claim {self._groups_claim!r} lists "
                f"{len(listed)}); ask whoever runs this platform to name a group in PLATFORM_OIDC_GROUPS"
            )
        return Person(self.provider.issuer, claims["sub"], name, groups)
