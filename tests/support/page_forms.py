"""What a page gives its forms: the token that shows whose they are."""

from mlplatform.auth import api_key
from mlplatform.auth.caller import ANONYMOUS, Caller
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.serve.api_server import ApiServer


def form_tokens(server: ApiServer) -> FormTokens:
    """The tokens of a server, also of one that was stopped."""
    return FormTokens(lambda: server.context.database, server.context.clock)


def form_token(server: ApiServer, caller: Caller = ANONYMOUS) -> dict[str, str]:
    """The field that a page's form has for this caller."""
    return {"form_token": form_tokens(server).issue(caller)}


def holder(text: str, name: str = "ada") -> Caller:
    """Who shows this key."""
    presented = api_key.parse(text)
    assert presented is not None
    return Caller(name, presented.id)
