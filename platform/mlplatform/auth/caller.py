"""Who makes a request, and of which models it may be: by the API key or the session that it came with."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

from mlplatform.errors import ForbiddenError
from mlplatform.scopes import SEPARATOR

CALLER_SCOPE_KEY: Final = "mlplatform.caller"
"""Where the ASGI scope of a request holds its caller."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the name and id of the key or person, both empty where nobody is asked who they are.

    `models` are those that the request may be about, None for every one; `needed` are the scopes that open it.
    """

    name: str = ""
    key_id: str = ""
    scopes: tuple[str, ...] = ()
    models: frozenset[str] | None = None
    needed: tuple[str, ...] = ()
    session_id: str = ""

    def may_see(self, model: str) -> bool:
        """Whether the request may be about a model."""
        return self.models is None or model in self.models

    def check_model(self, model: str, subject: str) -> None:
        """Raise ForbiddenError where the request may not be about a model; the subject is what it is about."""
        if not self.may_see(model):
            raise ForbiddenError(
                f"{subject} is of model {model!r}: this needs {scopes_for(self.needed, model)}; "
                f"{self.name or 'the caller'} has {', '.join(self.scopes)}"
            )


ANONYMOUS: Final = Caller()


def scopes_for(needed: Iterable[str], model: str) -> str:
    """The scopes of which one is needed, as they would be given for a model."""
    return " or ".join(f"{scope}{SEPARATOR}{model}" if model else scope for scope in sorted(needed))


def caller_of(connection: HTTPConnection) -> Caller:
    """Who made this request."""
    caller = connection.scope.get(CALLER_SCOPE_KEY, ANONYMOUS)
    assert isinstance(caller, Caller)
    return caller
