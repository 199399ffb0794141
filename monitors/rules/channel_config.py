"""The channels that notices can be sent to, as written in alerts.yaml."""

import base64
import binascii
import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

_ADDRESS = re.compile(r"[^@\s<>,;:()\[\]\\\"]+@([^@\s<>,;:()\[\]\\\"]+|\[[0-9A-Za-z.:]+\])")
_SUBMISSION_PORT, _IMPLICIT_TLS_PORT = 587, 465
_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def _web_address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not text:
        return SecretStr("")
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        sound = False
    if not sound or any(character.isspace() for character in text):
        raise ValueError("is not a web address; write https://host/path, or leave it empty to switch the channel off")
    return SecretStr(text)


def _service_address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if text and not _SERVICE.fullmatch(text):
        raise ValueError("is not an Apprise URL; write service://..., or leave it empty to switch the channel off")
    return SecretStr(text)


def _mail_address(value: str) -> str:
    if value and not (_ADDRESS.fullmatch(value) and value.isprintable()):
        raise ValueError("is not an email address; write name@host")
    return value


def _mail_host(value: str) -> str:
    """A host name, or smtp://host:port, or smtps://host:port for TLS from the first byte."""
    text = value.strip()
    _, mark, _ = text.partition("://")
    try:
        parts = urlsplit(text if mark else f"smtp://{text}")
        sound = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and not parts.path.strip("/")
        sound = sound and not (parts.query or parts.username) and (parts.port is None or bool(mark))
    except ValueError:
        sound = False
    if text and not mark and text.count(":") > 1:  # an IPv6 address
        sound = bool(re.fullmatch(r"[0-9A-Fa-f:.]+(%\w+)?", text))
    if text and (not sound or not text.isprintable() or any(character.isspace() for character in text)):
        raise ValueError("is not a mail server; write a host name, or smtps://host:465 for TLS from the first byte")
    return text


def _mail_addresses(value: object) -> object:
    """Accept one comma-separated text (an environment variable) as well as a list; drop empty entries."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        return value
    return [item.strip() if isinstance(item, str) else item for item in items if item not in ("", " ")]


def webhook_signing_key(secret: str) -> bytes:
    """The key bytes of a Standard Webhooks secret: whsec_ followed by base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("is not a webhook secret; write whsec_ followed by the base64 of 24 to 64 random bytes")
    return key


def _webhook_secret(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        webhook_signing_key(value.get_secret_value())
    return value


def _reject_bool(value: object) -> object:
    """YAML reads "yes" as true, and Python counts true as 1."""
    if isinstance(value, bool):
        raise ValueError("is not a number; write digits")
    return value


WholeNumber = Annotated[int, BeforeValidator(_reject_bool)]
WebAddress = Annotated[SecretStr, AfterValidator(_web_address)]
ServiceAddress = Annotated[SecretStr, AfterValidator(_service_address)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
MailHost = Annotated[str, AfterValidator(_mail_host)]
Encryption = Literal["implicit", "starttls", "none"]
MailAddresses = Annotated[
    tuple[MailAddress, ...],
    BeforeValidator(_mail_addresses),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
Port = Annotated[WholeNumber, Field(ge=1, le=65535)]


class StrictModel(BaseModel):
    """A frozen part of alerts.yaml: unknown keys are errors, and no value is repeated in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ChannelConfig(StrictModel):
    """A channel; while a key it needs is empty, it is switched off."""

    required_keys: ClassVar[tuple[str, ...]] = ("url",)

    @property
    def missing_keys(self) -> tuple[str, ...]:
        """The needed keys that are empty."""
        return tuple(key for key in self.required_keys if not getattr(self, key))

    @property
    def is_configured(self) -> bool:
        return not self.missing_keys


class SlackChannel(ChannelConfig):
    """A Slack incoming webhook."""

    type: Literal["slack"]
    url: WebAddress


class EmailChannel(ChannelConfig):
    """An SMTP server and the people who read.

    `tls: auto` is TLS from the first byte (implicit) at port 465 and for smtps://, else what `starttls` says: STARTTLS
    or plain text. There is nothing between: a server that offers no encryption gets no mail that asks for it.
    """

    required_keys: ClassVar[tuple[str, ...]] = ("host", "sender", "to")

    type: Literal["email"]
    to: MailAddresses
    sender: MailAddress
    host: MailHost
    port: Port = _SUBMISSION_PORT
    username: str = ""
    password: SecretStr = SecretStr("")
    starttls: bool = True
    tls: Literal["auto", "implicit", "starttls", "none"] = "auto"

    @property
    def server(self) -> tuple[str, int]:
        """Host and port; a port in the host's address wins, and smtps:// alone means 465."""
        if "://" not in self.host:
            return self.host, self.port
        parts = urlsplit(self.host)
        usual = _IMPLICIT_TLS_PORT if parts.scheme == "smtps" and self.port == _SUBMISSION_PORT else self.port
        return parts.hostname or "", parts.port or usual

    @property
    def encryption(self) -> Encryption:
        """How the connection is kept from others' eyes."""
        if self.tls != "auto":
            return self.tls
        if self.host.startswith("smtps://") or self.server[1] == _IMPLICIT_TLS_PORT:
            return "implicit"
        return "starttls" if self.starttls else "none"

    @model_validator(mode="after")
    def _credentials_come_in_pairs(self) -> Self:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("is incomplete: username and password go together; give both or neither")
        return self


class WebhookChannel(ChannelConfig):
    """Any address that takes a POST signed after Standard Webhooks."""

    type: Literal["webhook"]
    url: WebAddress
    secret: Annotated[SecretStr, AfterValidator(_webhook_secret)]

    @model_validator(mode="after")
    def _a_used_webhook_is_signed(self) -> Self:
        if self.url.get_secret_value() and not self.secret.get_secret_value():
            raise ValueError(
                "is unsigned: a webhook with a url needs a secret: whsec_ and the base64 of 24 to 64 bytes"
            )
        return self


class AlertmanagerChannel(ChannelConfig):
    """Any receiver of Prometheus Alertmanager's webhooks."""

    type: Literal["alertmanager"]
    url: WebAddress


class AppriseChannel(ChannelConfig):
    """Any service that the Apprise library sends to; its URL holds the service's secrets."""

    type: Literal["apprise"]
    url: ServiceAddress


Channel = Annotated[
    SlackChannel | EmailChannel | WebhookChannel | AlertmanagerChannel | AppriseChannel, Field(discriminator="type")
]
CHANNEL_TYPES: dict[str, type[StrictModel]] = {
    "alertmanager": AlertmanagerChannel,
    "apprise": AppriseChannel,
    "email": EmailChannel,
    "slack": SlackChannel,
    "webhook": WebhookChannel,
}


def is_secret(key: str | int) -> bool:
    """Whether a key of alerts.yaml holds something that must never be printed."""
    return key in ("url", "secret", "password", "username")
