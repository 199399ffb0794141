"""Settings of who is let in: whether keys are asked for, and the OpenID provider that people sign in with."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from mlplatform.errors import SettingsError
from mlplatform.scopes import parse_group_scopes

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
MAX_SECRET_BYTES = 4096
MAX_SESSION_HOURS = 168


def lower_case(value: object) -> object:
    """A text in lower case, anything else as it is."""
    return value.lower() if isinstance(value, str) else value


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AccessSettings(BaseSettings):
    """The part of the settings that says who may come in."""

    host: str = Field("127.0.0.1", description="Address the API server binds to.")
    public_url: str = Field("", description="Address of the API server as people reach it, used in links.")
    auth: Annotated[Literal["auto", "on", "off"], BeforeValidator(lower_case)] = Field(
        "auto",
        description="Whether the API asks for keys: on, off, or auto (off on loopback without OIDC, on elsewhere).",
    )
    oidc_issuer: str = Field(
        "", description="Address of the OpenID provider that people sign in with in browsers; empty means none."
    )
    oidc_client_id: str = Field("", description="This platform's id at the provider.")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="Its secret; empty for a client without one, which PKCE alone protects."
    )
    oidc_client_secret_file: Path | None = Field(None, description="File that holds the secret instead.")
    oidc_groups: str = Field(
        "", description="Scopes by group, such as ml-team=review,retrain;oncall=operate:digits,audit:digits."
    )
    oidc_groups_claim: str = Field("groups", min_length=1, description="Claim of the ID token that lists the groups.")
    oidc_name_claim: str = Field(
        "email", min_length=1, description="Claim that names a person in the audit log; one that they cannot change."
    )
    oidc_scope: str = Field(
        "openid email profile", description="What the provider is asked for; some need a scope of their own for groups."
    )
    oidc_session_hours: float = Field(
        8.0, gt=0, le=MAX_SESSION_HOURS, description="How long somebody stays signed in, in hours."
    )

    @field_validator("oidc_issuer")
    @classmethod
    def _validate_issuer(cls, value: str) -> str:
        parts = urlsplit(value)
        if not value or (parts.scheme == "https" and parts.hostname):
            return value
        if parts.scheme == "http" and is_loopback(parts.hostname or ""):
            return value
        raise ValueError("is not the https address of a provider (http is for loopback only)")

    @field_validator("oidc_groups")
    @classmethod
    def _validate_groups(cls, value: str) -> str:
        parse_group_scopes(value)
        return value

    @field_validator("oidc_scope")
    @classmethod
    def _validate_scope(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("must name openid, or the provider sends no ID token")
        return value

    @model_validator(mode="after")
    def _validate_sign_in(self) -> Self:
        if not self.oidc_issuer:
            return self
        parts = urlsplit(self.public_url)
        missing = [
            name
            for name, is_given in (
                ("PLATFORM_OIDC_CLIENT_ID", self.oidc_client_id),
                ("PLATFORM_OIDC_GROUPS", self.oidc_groups),
                ("PLATFORM_PUBLIC_URL (http:// or https://)", parts.scheme in ("http", "https") and parts.hostname),
            )
            if not is_given
        ]
        if missing:
            raise ValueError(f"PLATFORM_OIDC_ISSUER needs {', '.join(missing)} as well")
        if self.auth == "off":
            raise ValueError("PLATFORM_OIDC_ISSUER lets people sign in and PLATFORM_AUTH=off asks nobody; set it to on")
        if self.oidc_client_secret.get_secret_value() and self.oidc_client_secret_file is not None:
            raise ValueError("give PLATFORM_OIDC_CLIENT_SECRET or PLATFORM_OIDC_CLIENT_SECRET_FILE, not both")
        return self

    @property
    def requires_keys(self) -> bool:
        """Whether the API server asks who calls."""
        is_open = self.host in LOOPBACK_HOSTS and not self.oidc_issuer
        return self.auth == "on" or (self.auth == "auto" and not is_open)

    def read_client_secret(self) -> str:
        """The secret at the provider, from its file where one is named; raises SettingsError."""
        path = self.oidc_client_secret_file
        if path is None:
            return self.oidc_client_secret.get_secret_value()
        try:
            with path.open(encoding="utf-8") as file:
                secret = file.read(MAX_SECRET_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"PLATFORM_OIDC_CLIENT_SECRET_FILE={path} cannot be read ({error})") from error
        if not secret:
            raise SettingsError(f"PLATFORM_OIDC_CLIENT_SECRET_FILE={path} is empty; write the secret into it")
        return secret
