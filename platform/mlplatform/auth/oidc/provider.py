"""The OpenID provider as its documents describe it: where people sign in, and where a code becomes an ID token."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from mlplatform.auth.oidc.provider_connection import ProviderConnection
from mlplatform.auth.oidc.provider_keys import ProviderKeys
from mlplatform.auth.sign_in_errors import ProviderUnavailableError, SignInRefusedError

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
MAX_AGE_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 5.0
"""A provider that did not answer is asked again after this: those who wait for it do not wait one after the other."""


@dataclass(frozen=True)
class ClientRegistration:
    """This platform as the provider knows it; an empty secret is that of a client without one."""

    client_id: str
    secret: str
    redirect_uri: str
    scope: str


@dataclass(frozen=True)
class Endpoints:
    """What the provider's discovery document names."""

    authorization: str
    token: str
    keys: str
    auth_methods: tuple[str, ...]


class OidcProvider:
    """One provider; its documents are kept for an hour. Threads may share it."""

    def __init__(
        self,
        issuer: str,
        registration: ClientRegistration,
        connection: ProviderConnection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer, self.registration = issuer, registration
        self._connection, self._clock, self._lock = connection, clock, threading.Lock()
        self._endpoints: Endpoints | None = None
        self._fetched_at = 0.0
        self._failure: tuple[float, str] | None = None
        self.keys = ProviderKeys(lambda: connection.get_json(self.endpoints().keys), clock)

    def endpoints(self) -> Endpoints:
        """Where the provider answers; raises ProviderUnavailableError."""
        with self._lock:
            if self._endpoints is not None and self._clock() - self._fetched_at <= MAX_AGE_SECONDS:
                return self._endpoints
            if self._failure is not None and self._clock() - self._failure[0] < RETRY_SECONDS:
                raise ProviderUnavailableError(self._failure[1])
            try:
                self._endpoints = self._discover()
            except ProviderUnavailableError as error:
                self._failure = self._clock(), str(error)
                raise
            self._fetched_at = self._clock()
            return self._endpoints

    def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where a browser is sent to sign in."""
        address: str = prepare_grant_uri(
            self.endpoints().authorization,
            client_id=self.registration.client_id,
            response_type="code",
            redirect_uri=self.registration.redirect_uri,
            scope=self.registration.scope,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return address

    def exchange(self, code: str, verifier: str) -> object:
        """The ID token that a code stands for, unchecked; raises SignInRefusedError for a code that is no good."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.registration.redirect_uri,
            "code_verifier": verifier,
        }
        endpoints = self.endpoints()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url, headers, body = self._authentication(endpoints).prepare("POST", endpoints.token, headers, urlencode(form))
        status, answer = self._connection.post_form(url, headers, body)
        if status >= 500 or status == 429:
            raise ProviderUnavailableError(f"the provider answered a code with status {status}")
        if status != 200:
            raise SignInRefusedError(
                f"the provider refused the sign-in ({_error_code(answer)}); sign in again, and if it stays so, compare "
                "client id, secret and redirect address with those at the provider"
            )
        return answer.get("id_token")

    def _authentication(self, endpoints: Endpoints) -> Any:  # noqa: ANN401 - Authlib has no types
        client_id, secret = self.registration.client_id, self.registration.secret
        if not secret:
            return ClientAuth(client_id, "", "none")
        if "client_secret_basic" in endpoints.auth_methods:
            return ClientAuth(quote(client_id, safe=""), quote(secret, safe=""), "client_secret_basic")
        return ClientAuth(client_id, secret, "client_secret_post")

    def _discover(self) -> Endpoints:
        document = self._connection.get_json(self.issuer.rstrip("/") + DISCOVERY_PATH)
        if document.get("issuer") != self.issuer:
            raise ProviderUnavailableError(
                f"the provider calls itself {str(document.get('issuer'))[:200]!r} and PLATFORM_OIDC_ISSUER is "
                f"{self.issuer!r}; write it exactly as the provider does"
            )
        authorization, token, keys = (
            self._connection.check_url(document.get(name), name)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        )
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Endpoints(authorization, token, keys, tuple(methods) if isinstance(methods, list) else ())


def _error_code(answer: Mapping[str, Any]) -> str:
    """The code of an OAuth error, where it is one."""
    code = answer.get("error")
    return code if isinstance(code, str) and len(code) <= 40 and code.replace("_", "").isalnum() else "no reason given"
