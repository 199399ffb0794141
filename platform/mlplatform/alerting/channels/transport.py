"""One message to one channel, now: the receiver's answer decides. It keeps no record, and tries once."""

import email
import email.policy
import logging
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, assert_never
from urllib.parse import urlsplit

import httpx
import orjson

from mlplatform.alerting.channels.apprise_sender import send_apprise
from mlplatform.alerting.channels.smtp import send_mail
from mlplatform.alerting.outbox import MAX_RETRY_AFTER, OutboxMessage
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError
from mlplatform.network.egress import EgressPolicy, egress_policy
from mlplatform.network.redact import redact_secrets
from monitors.notices.slack import without_images
from monitors.notices.webhook_signature import signed_headers
from monitors.rules.channel_config import (
    AlertmanagerChannel,
    AppriseChannel,
    EmailChannel,
    SlackChannel,
    WebhookChannel,
)

log = logging.getLogger(__name__)
Headers = Mapping[str, str]
MAX_RESPONSE_BYTES: Final = 64 * 1024
"""So many bytes of a receiver's answer are read."""
MAX_SHOWN_CHARS: Final = 200
RETRY_AFTER_STATUSES: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
PostingChannel = SlackChannel | AlertmanagerChannel | WebhookChannel | AppriseChannel


class RefusedMessageError(DeliveryError):
    """The receiver has answered, and did not take the message; `wait` is how long it asks to be left alone."""

    def __init__(self, text: str, retry_after: timedelta | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True)
class ReceiverResponse:
    """What a receiver said: as much of it as was read."""

    status: int
    text: str
    headers: Headers


@dataclass(frozen=True)
class Transport:
    """The ways out of this process: HTTP, mail and Apprise. `proxied` sends what may not go directly."""

    context: AppContext
    client: httpx.Client
    proxy_client: httpx.Client | None = None

    def send(self, message: OutboxMessage) -> None:
        """Send one message; raises DeliveryError with the receiver's answer."""
        channel = self.context.rules.channels.get(message.channel)
        if channel is None or not channel.is_configured:
            raise DeliveryError(f"channel {message.channel!r} is no longer configured in alerts.yaml")
        if message.payload["type"] != channel.type:
            raise DeliveryError(
                f"channel {message.channel!r} is {channel.type} now; this was made for {message.payload['type']}"
            )
        if isinstance(channel, EmailChannel):  # a relay is where people put it, most often on a private network
            letter = email.message_from_string(message.payload["message"], policy=email.policy.default)
            readers = [each for each in message.payload.get("readers", channel.to) if each in channel.to]
            send_mail(channel, letter, readers or channel.to, self.context.settings.delivery_timeout_seconds)
            return
        outward = self._egress_policy()
        with outward.enforced() as refused:
            try:
                self._post_to(channel, message, outward)
            except DeliveryError as error:
                if refused:
                    raise DeliveryError(refused[0]) from error
                raise

    def _egress_policy(self) -> EgressPolicy:
        """Where sockets may connect to: what the setting allows, and the proxy where there is one."""
        settings = self.context.settings
        proxy = urlsplit(settings.delivery_proxy).hostname
        return egress_policy((*settings.allowed_receivers, *([proxy] if proxy else [])))

    def _post_to(self, channel: PostingChannel, message: OutboxMessage, policy: EgressPolicy) -> None:
        body = orjson.dumps(message.payload.get("body"))
        match channel:
            case SlackChannel():
                self._post_slack(channel.url.get_secret_value(), message)
            case AlertmanagerChannel():
                self._post(channel.url.get_secret_value(), body, message)
            case WebhookChannel():
                moment, secret = int(self.context.clock().timestamp()), channel.secret.get_secret_value()
                headers = signed_headers(secret, message.idempotency_key, moment, body)
                self._post(channel.url.get_secret_value(), body, message, headers)
            case AppriseChannel():
                settings = self.context.settings
                url, seconds = channel.url.get_secret_value(), settings.delivery_timeout_seconds
                send_apprise(url, message.payload["body"], seconds, policy, settings.delivery_proxy)
            case _:
                assert_never(channel)

    def _post_slack(self, url: str, message: OutboxMessage) -> None:
        """Slack fetches pictures while it takes a message, and refuses the whole when it cannot: then without them."""
        body = message.payload["body"]
        bare = without_images(body)
        answer = self._request(url, orjson.dumps(body), message)
        if answer.status == httpx.codes.BAD_REQUEST and bare != body:
            log.warning("notice %s to %s: sent again without pictures", message.idempotency_key, message.channel)
            answer = self._request(url, orjson.dumps(bare), message)
        self._raise_for_status(answer, url)

    def _post(self, url: str, body: bytes, message: OutboxMessage, headers: Headers = MappingProxyType({})) -> None:
        self._raise_for_status(self._request(url, body, message, headers), url)

    def _request(
        self, url: str, body: bytes, message: OutboxMessage, headers: Headers = MappingProxyType({})
    ) -> ReceiverResponse:
        """Post, and read a bounded part of the answer: once its status is known, the rest may fail."""
        sent = {
            "content-type": "application/json",
            "idempotency-key": message.idempotency_key,
            "accept-encoding": "identity",
            **headers,
        }
        try:
            with self._client_for(url).stream("POST", url, content=body, headers=sent) as response:
                return ReceiverResponse(response.status_code, _read_bounded(response), dict(response.headers))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last two: no such address can be
            raise DeliveryError(f"no answer ({type(error).__name__})") from error

    def _client_for(self, url: str) -> httpx.Client:
        """The proxy's client, but for receivers that a setting names: these are reached directly.

        A proxy connects by itself, where no check of ours is: so the receiver's addresses are held against the rule
        here, as far as its name leads to any.
        """
        if self.proxy_client is None:
            return self.client
        named = egress_policy(self.context.settings.allowed_receivers)
        host = (urlsplit(url).hostname or "").lower()
        if host in {name.lower() for name in named.host_names} or named.is_allowlisted(host):
            return self.client
        for address in _resolve(host):
            if not named.permits(address):
                raise DeliveryError(f"{address} is no public address; PLATFORM_ALLOWED_RECEIVERS may allow it")
        return self.proxy_client

    def _raise_for_status(self, response: ReceiverResponse, url: str) -> None:
        if 200 <= response.status < 300:
            return
        asked = response.headers.get("retry-after", "") if response.status in RETRY_AFTER_STATUSES else ""
        said = f"HTTP {response.status}: {redact_secrets(response.text[:MAX_SHOWN_CHARS], url)}"
        raise RefusedMessageError(
            said, parse_retry_after(asked, response.headers.get("date", ""), self.context.clock())
        )


def parse_retry_after(retry_after: str, date: str, now: datetime) -> timedelta | None:
    """The wait that a `Retry-After` asks for, in seconds or until a date; None where it asks for none.

    A date is held against the receiver's own `Date`, so that two clocks need not agree.
    """
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+", text):
        return MAX_RETRY_AFTER if len(text) > 9 else timedelta(seconds=int(text))
    until, sent = _parse_http_date(text), _parse_http_date(date)
    return None if until is None else max(timedelta(0), until - (sent or now))


def _parse_http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)


def _read_bounded(response: httpx.Response) -> str:
    """The beginning of a body, as it came over the wire: nothing is unpacked."""
    if response.is_stream_consumed:
        return response.text
    read = bytearray()
    try:
        for chunk in response.iter_raw():
            read += chunk
            if len(read) >= MAX_RESPONSE_BYTES:
                break
    except httpx.HTTPError:
        log.debug("an answer's body ended early")
    return bytes(read[:MAX_RESPONSE_BYTES]).decode(errors="replace")


def _resolve(host: str) -> list[str]:
    """Where a name leads, as far as this machine can say: behind a proxy, often nowhere."""
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []


def create_transport(context: AppContext) -> Transport:
    """The ways out that the settings describe: no redirect is followed, no connection is kept.

    A connection that is kept would belong to no delivery, and could not be cut with the one that waits for it.
    """
    settings = context.settings
    trust = httpx.create_ssl_context()  # with what SSL_CERT_FILE names
    seconds, none_kept = settings.delivery_timeout_seconds, httpx.Limits(max_keepalive_connections=0)
    direct = httpx.Client(timeout=seconds, trust_env=False, verify=trust, limits=none_kept)
    if not settings.delivery_proxy:
        return Transport(context, direct)
    proxied = httpx.Client(
        timeout=seconds, trust_env=False, verify=trust, limits=none_kept, proxy=settings.delivery_proxy
    )
    return Transport(context, direct, proxied)
