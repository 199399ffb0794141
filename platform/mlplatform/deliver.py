"""Deliveries from the outbox to every kind of channel: at least once, each try the same; it composes nothing."""

import email
import email.policy
import logging
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

import httpx
import orjson
from sqlalchemy import Connection

from mlplatform.build import Parts
from mlplatform.errors import DeliveryError
from mlplatform.outward import Outward, outward_of
from mlplatform.push import push
from mlplatform.redact import without_secrets
from mlplatform.store import audit, leases, outbox
from monitors.channels import AlertmanagerChannel, AppriseChannel, EmailChannel, SlackChannel, WebhookChannel
from monitors.signature import signed_headers
from monitors.slack import without_pictures

log = logging.getLogger(__name__)
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Courier:
    """Sends what is due. Given a lease, it proves it before each message: one courier among many watchers."""

    parts: Parts
    client: httpx.Client

    def round(self, lease: leases.Lease | None = None) -> dict[str, int]:
        """Try every due message once; returns how many were delivered, put off and given up."""
        tally = {"delivered": 0, "waiting": 0, "failed": 0}
        with self.parts.database.read() as connection:
            due = outbox.due(connection, self.parts.clock(), self.parts.rules.model)
        for message in due:
            if lease is not None:
                with self.parts.database.write() as connection:
                    leases.prove(connection, lease)
            tally[self._one(message)] += 1
        return tally

    def _one(self, message: outbox.Message) -> str:
        try:
            self.send(message)
        except DeliveryError as error:
            log.warning("notice %s to %s: %s", message.idempotency_key, message.channel, error)
            with self.parts.database.write() as connection:
                return self._put_off(connection, message, str(error))
        with self.parts.database.write() as connection:
            outbox.delivered(connection, message.id, self.parts.clock())
        return "delivered"

    def _put_off(self, connection: Connection, message: outbox.Message, error: str) -> str:
        now = self.parts.clock()
        state = outbox.failed(connection, message, error, self.parts.settings.delivery_attempts, now)
        if state == "failed":
            subject = f"notice/{message.idempotency_key}"
            audit.note(connection, "courier", "gave-up", subject, now, {"error": error[:500]})
        return state

    def send(self, message: outbox.Message) -> None:
        """Send one message; raises DeliveryError with the receiver's answer."""
        channel = self.parts.rules.channels.get(message.channel)
        if channel is None or not channel.configured:
            raise DeliveryError(f"channel {message.channel!r} is no longer configured in alerts.yaml")
        if message.payload["type"] != channel.type:
            raise DeliveryError(
                f"channel {message.channel!r} is {channel.type} now; this was made for {message.payload['type']}"
            )
        if isinstance(channel, EmailChannel):  # a relay is where people put it, most often on a private network
            self._mail(channel, message.payload["message"])
            return
        outward = outward_of(self.parts.settings.allowed_receivers)
        with outward.only() as refused:
            try:
                self._send(channel, message, outward)
            except DeliveryError as error:
                if refused:
                    raise DeliveryError(refused[0]) from error
                raise

    def _send(
        self,
        channel: SlackChannel | AlertmanagerChannel | WebhookChannel | AppriseChannel,
        message: outbox.Message,
        outward: Outward,
    ) -> None:
        body = orjson.dumps(message.payload.get("body"))
        match channel:
            case SlackChannel():
                self._slack(channel.url.get_secret_value(), message)
            case AlertmanagerChannel():
                self._post(channel.url.get_secret_value(), body, message)
            case WebhookChannel():
                moment, secret = int(self.parts.clock().timestamp()), channel.secret.get_secret_value()
                headers = signed_headers(secret, message.idempotency_key, moment, body)
                self._post(channel.url.get_secret_value(), body, message, headers)
            case AppriseChannel():
                timeout = self.parts.settings.delivery_timeout_seconds
                push(channel.url.get_secret_value(), message.payload["body"], timeout, outward)
            case _:
                assert_never(channel)

    def _slack(self, url: str, message: outbox.Message) -> None:
        """Slack fetches pictures while it takes a message, and refuses the whole when it cannot: then without them."""
        body = message.payload["body"]
        bare = without_pictures(body)
        answer = self._answer(url, orjson.dumps(body), message)
        if answer.status_code == httpx.codes.BAD_REQUEST and bare != body:
            log.warning("notice %s to %s: sent again without pictures", message.idempotency_key, message.channel)
            answer = self._answer(url, orjson.dumps(bare), message)
        _check(answer, url)

    def _post(self, url: str, body: bytes, message: outbox.Message, headers: Headers = MappingProxyType({})) -> None:
        _check(self._answer(url, body, message, headers), url)

    def _answer(
        self, url: str, body: bytes, message: outbox.Message, headers: Headers = MappingProxyType({})
    ) -> httpx.Response:
        sent = {"content-type": "application/json", "idempotency-key": message.idempotency_key, **headers}
        try:
            return self.client.post(url, content=body, headers=sent)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last two: no such address can be
            raise DeliveryError(f"no answer ({type(error).__name__})") from error

    def _mail(self, channel: EmailChannel, text: str) -> None:
        message = email.message_from_string(text, policy=email.policy.default)
        timeout = self.parts.settings.delivery_timeout_seconds
        try:
            with smtplib.SMTP(channel.host, channel.port, timeout=timeout) as server:
                if channel.starttls:
                    server.starttls(context=ssl.create_default_context())
                if channel.username:
                    server.login(channel.username, channel.password.get_secret_value())
                server.send_message(message, channel.sender, list(channel.to))
        except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: a host that no name can be
            raise DeliveryError(f"SMTP {channel.host}:{channel.port}: {error}") from error


def _check(answer: httpx.Response, url: str) -> None:
    if not answer.is_success:
        raise DeliveryError(f"HTTP {answer.status_code}: {without_secrets(answer.text[:200], url)}")


def courier(parts: Parts) -> Courier:
    """A courier with the timeouts of the settings; it follows no redirect."""
    return Courier(parts, httpx.Client(timeout=parts.settings.delivery_timeout_seconds))
