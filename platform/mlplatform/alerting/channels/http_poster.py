"""Posts JSON to receivers over HTTP: bounded answers, no redirects, the egress policy, and what receivers ask for."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import httpx

from mlplatform.alerting.retry_policy import MAX_RETRY_AFTER
from mlplatform.clock import Clock
from mlplatform.errors import DeliveryError
from mlplatform.network.connections import resolve
from mlplatform.network.egress import EgressDeniedError, EgressPolicy
from mlplatform.network.redact import redact_secrets

log = logging.getLogger(__name__)
Headers = Mapping[str, str]
MAX_RESPONSE_BYTES: Final = 64 * 1024
"""So many bytes of a receiver's answer are read."""
MAX_SHOWN_CHARS: Final = 200
RETRY_AFTER_STATUSES: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


class RefusedMessageError(DeliveryError):
    """The receiver answered and did not take the message; `retry_after` is how long it asks to be left alone."""

    def __init__(self, text: str, retry_after: timedelta | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True)
class ReceiverResponse:
    """What a receiver answered: as much of it as was read."""

    status: int
    text: str
    headers: Headers


@dataclass(frozen=True)
class HttpPoster:
    """Posts to receivers, directly or through the proxy of deliveries."""

    client: httpx.Client
    clock: Clock
    allowed: EgressPolicy
    """What PLATFORM_ALLOWED_RECEIVERS names: reached directly, proxy or not."""
    proxy_client: httpx.Client | None = None

    def post(self, url: str, body: bytes, idempotency_key: str, headers: Headers = MappingProxyType({})) -> None:
        """Post, and raise DeliveryError unless the receiver took it."""
        self.raise_for_status(self.request(url, body, idempotency_key, headers), url)

    def request(
        self, url: str, body: bytes, idempotency_key: str, headers: Headers = MappingProxyType({})
    ) -> ReceiverResponse:
        """Post, and read a bounded part of the answer: once its status is known, the rest may fail."""
        all_headers = {
            "content-type": "application/json",
            "idempotency-key": idempotency_key,
            "accept-encoding": "identity",
            **headers,
        }
        try:
            with self._client_for(url).stream("POST", url, content=body, headers=all_headers) as response:
                return ReceiverResponse(response.status_code, _read_bounded(response), dict(response.headers))
        except EgressDeniedError as error:
            raise DeliveryError(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last two: no such address can be
            raise DeliveryError(f"no answer ({type(error).__name__})") from error

    def raise_for_status(self, response: ReceiverResponse, url: str) -> None:
        """Raise RefusedMessageError for any status but success, with the wait that the receiver asks for."""
        if 200 <= response.status < 300:
            return
        asked = response.headers.get("retry-after", "") if response.status in RETRY_AFTER_STATUSES else ""
        text = f"HTTP {response.status}: {redact_secrets(response.text[:MAX_SHOWN_CHARS], url)}"
        raise RefusedMessageError(text, parse_retry_after(asked, response.headers.get("date", ""), self.clock()))

    def _client_for(self, url: str) -> httpx.Client:
        """The proxy's client, but for receivers that the setting names: these are reached directly.

        A proxy connects by itself, where no check of ours is: so the receiver's addresses are checked here, as far as
        its name leads to any.
        """
        if self.proxy_client is None:
            return self.client
        host = (urlsplit(url).hostname or "").lower()
        if host in {name.lower() for name in self.allowed.host_names} or self.allowed.is_allowlisted(host):
            return self.client
        for address in _resolve_if_known(host):
            self.allowed.check(address)
        return self.proxy_client


def parse_retry_after(retry_after: str, date: str, now: datetime) -> timedelta | None:
    """The wait that a `Retry-After` asks for, in seconds or until a date; None where it asks for none.

    A date is compared with the receiver's own `Date`, so that two clocks need not agree.
    """
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+", text):
        return MAX_RETRY_AFTER if len(text) > 9 else timedelta(seconds=int(text))
    until, sent = _parse_http_date(text), _parse_http_date(date)
    return None if until is None else max(timedelta(0), until - (sent or now))


def _parse_http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def _read_bounded(response: httpx.Response) -> str:
    """The beginning of a body, as it came over the wire: nothing is unpacked."""
    if response.is_stream_consumed:
        return response.text
    body = bytearray()
    try:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) >= MAX_RESPONSE_BYTES:
                break
    except httpx.HTTPError:
        log.debug("an answer's body ended early")
    return bytes(body[:MAX_RESPONSE_BYTES]).decode(errors="replace")


def _resolve_if_known(host: str) -> list[str]:
    """Where a name leads, as far as this machine can say: behind a proxy, often nowhere."""
    try:
        return resolve(host)
    except OSError:
        return []
