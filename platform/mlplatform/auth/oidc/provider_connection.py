"""Asks the OpenID provider over HTTP: to public addresses and its own host only, within a deadline and a size."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from mlplatform.access_settings import is_loopback
from mlplatform.auth.sign_in_errors import ProviderUnavailableError
from mlplatform.network.deadline import DeadlineError, run_with_deadline
from mlplatform.network.egress import egress_policy
from mlplatform.network.http_clients import create_egress_client

DEADLINE_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 262_144


class ProviderConnection:
    """Requests to one provider. No redirect is followed, and no proxy of the environment is used."""

    def __init__(self, issuer: str, allowed: tuple[str, ...], deadline_seconds: float = DEADLINE_SECONDS) -> None:
        parts = urlsplit(issuer)
        self._is_local = parts.scheme == "http"
        self._policy, self._deadline_seconds = egress_policy((*allowed, parts.hostname or "")), deadline_seconds

    def get_json(self, url: str) -> dict[str, Any]:
        """A JSON object; raises ProviderUnavailableError."""
        status, document = self._exchange("GET", url, {}, "")
        if status != 200:
            raise ProviderUnavailableError(f"the provider answered {url} with status {status}")
        return document

    def post_form(self, url: str, headers: Mapping[str, str], body: str) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object that a form is answered with; raises ProviderUnavailableError."""
        return self._exchange("POST", url, headers, body)

    def check_url(self, url: object, name: str) -> str:
        """An address from the provider's documents; raises ProviderUnavailableError unless it is one to connect to."""
        try:
            parts = urlsplit(url) if isinstance(url, str) else None
        except ValueError:  # of brackets that hold no address
            parts = None
        if parts is None or not parts.hostname or not self._is_scheme_allowed(parts.scheme, parts.hostname):
            raise ProviderUnavailableError(
                f"the provider names {str(url)[:200]!r} as {name}, which is no https address"
            )
        return str(url)

    def _is_scheme_allowed(self, scheme: str, host: str) -> bool:
        return scheme == "https" or (scheme == "http" and self._is_local and is_loopback(host))

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: str) -> tuple[int, dict[str, Any]]:
        try:
            status, content = run_with_deadline(
                self._deadline_seconds, lambda: self._request(method, url, headers, body), "oidc"
            )
            document = orjson.loads(content)
        except (httpx.HTTPError, httpx.InvalidURL, DeadlineError, OSError) as error:
            raise ProviderUnavailableError(f"the provider does not answer at {url}: {error}") from error
        except orjson.JSONDecodeError as error:
            raise ProviderUnavailableError(f"the provider answers {url} with what is no JSON") from error
        if not isinstance(document, dict):
            raise ProviderUnavailableError(f"the provider answers {url} with what is no JSON object")
        return status, document

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: str) -> tuple[int, bytes]:
        sent = {"accept": "application/json", "accept-encoding": "identity", **headers}
        with (
            create_egress_client(self._deadline_seconds, self._policy) as client,
            client.stream(method, url, headers=sent, content=body.encode()) as response,
        ):
            content = b""
            for part in response.iter_raw():  # packed, it could be of any size
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise ProviderUnavailableError(
                        f"the provider answers {url} with more than {MAX_ANSWER_BYTES} bytes"
                    )
            return response.status_code, content
