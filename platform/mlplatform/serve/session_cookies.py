"""The cookies of those who sign in: their names and flags, and how they are read from a request."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response

from mlplatform.settings import Settings

SESSION: Final = "mlplatform_session"
ATTEMPT: Final = "mlplatform_sign_in"


@dataclass(frozen=True)
class SessionCookies:
    """How cookies are set: over HTTPS only where people come by HTTPS, never for scripts or other sites' requests."""

    is_secure: bool
    path: str

    def name(self, base: str) -> str:
        """With a prefix by which browsers refuse such a cookie from elsewhere, where there is HTTPS."""
        if not self.is_secure:
            return base
        return f"__Host-{base}" if self.path == "/" else f"__Secure-{base}"

    def set(self, response: Response, base: str, value: str, max_age_seconds: int) -> None:
        """Let the browser keep a value for so long."""
        response.set_cookie(
            self.name(base),
            value,
            max_age=max_age_seconds,
            path=self.path,
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )

    def delete(self, response: Response, base: str) -> None:
        """Let the browser forget a value."""
        response.delete_cookie(self.name(base), path=self.path, secure=self.is_secure, httponly=True, samesite="lax")

    def read(self, header: str, base: str) -> str:
        """The value of a cookie; empty where there is none, or two, of which one came from elsewhere."""
        wanted = self.name(base)
        pairs = (part.strip().partition("=") for part in header.split(";"))
        values = [value for name, _, value in pairs if name == wanted]
        return values[0] if len(values) == 1 else ""


def session_cookies(settings: Settings) -> SessionCookies:
    """The cookies of a server that people reach as the settings say."""
    return SessionCookies(urlsplit(settings.public_url).scheme == "https", settings.root_path or "/")
