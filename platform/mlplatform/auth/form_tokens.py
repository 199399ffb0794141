"""Tokens that the forms of pages carry: a form without a good one was made elsewhere, or for somebody else.

A token is a time and a signature over it and over the caller, so a server keeps nothing of the forms that it showed.
What signs them is in the database: every server takes the forms of all, before and after a restart.
"""

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from mlplatform.auth.caller import Caller
from mlplatform.auth.token_signer import TokenSigner
from mlplatform.clock import EPOCH, Clock
from mlplatform.errors import PlatformError
from mlplatform.store.database import Database

LIFETIME: Final = timedelta(hours=24)
CLOCK_SKEW: Final = timedelta(minutes=5)
"""The clocks of two servers differ by less."""
SIGNING_KEY: Final = "form-tokens"
MAX_TOKEN_LENGTH: Final = 100
REMEDY: Final = "load the page again and send its form"


class FormRefusedError(PlatformError, RuntimeError):
    """A form was not made by a page of this platform for whoever sends it, or too long ago."""


class FormTokens:
    """Makes and checks the tokens of one server; threads may share it."""

    def __init__(self, database: Callable[[], Database], clock: Clock) -> None:
        self._signer, self._clock = TokenSigner(database, clock, SIGNING_KEY), clock

    @property
    def is_ready(self) -> bool:
        """Whether a token can be checked without asking the database."""
        return self._signer.is_ready

    def load(self) -> None:
        """Read what tokens are signed with; raises StoreUnavailableError."""
        self._signer.load()

    def issue(self, caller: Caller) -> str:
        """A token for a form that this caller is shown."""
        return self._signed(int((self._clock() - EPOCH).total_seconds()), caller)

    def check(self, caller: Caller, token: str) -> None:
        """Raise FormRefusedError unless the token was made for this caller within a day."""
        seconds, _, _ = token.partition(".")
        if len(token) > MAX_TOKEN_LENGTH or not (seconds.isascii() and seconds.isdecimal()):
            why = "it carries no token" if not token else "its token is none of this platform's"
            raise FormRefusedError(f"the form was not made by this page: {why}; {REMEDY}")
        if not hmac.compare_digest(token.encode(), self._signed(int(seconds), caller).encode()):
            raise FormRefusedError(f"the form was made for somebody else, or elsewhere; {REMEDY}")
        age = self._clock() - _moment(int(seconds))
        if not -CLOCK_SKEW <= age <= LIFETIME:
            raise FormRefusedError(f"the form is {age.total_seconds() / 3600:.0f} hours old; {REMEDY}")

    def _signed(self, seconds: int, caller: Caller) -> str:
        content = "\0".join((str(seconds), caller.key_id, caller.name, caller.session_id)).encode()
        return f"{seconds}.{self._signer.sign(content)}"


def _moment(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
