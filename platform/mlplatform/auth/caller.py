"""Who makes a request: the name and id of the API key that it came with."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

CALLER_SCOPE_KEY: Final = "mlplatform.caller"
"""Where the ASGI scope of a request holds its caller."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the name and id of the key, both empty where keys are not asked for."""

    name: str = ""
    key_id: str = ""


ANONYMOUS: Final = Caller()


def caller_of(connection: HTTPConnection) -> Caller:
    """Who made this request."""
    caller = connection.scope.get(CALLER_SCOPE_KEY, ANONYMOUS)
    assert isinstance(caller, Caller)
    return caller
