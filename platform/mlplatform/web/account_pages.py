"""The pages where people sign in, and see who they are here."""

from urllib.parse import quote, urlsplit

from mlplatform.auth.caller import Caller
from mlplatform.web.rendering import render_page

SCOPE_TEXTS = {
    "predict": "ask for predictions",
    "feedback": "send labels",
    "audit": "see everything that is shown",
    "review": "label by hand",
    "retrain": "see models, ask for retrainings and cancel them",
    "operate": "what retrain may, answer alerts, roll back, stop what is tried",
    "admin": "everything",
}


def sign_in_page(issuer: str, path: str) -> str:
    """The ways to sign in; afterwards the browser goes to the path."""
    return render_page(
        "sign_in.html",
        path="/sign-in",
        title="Sign in",
        provider=urlsplit(issuer).netloc,
        query=quote(path, safe="/"),
    )


def account_page(caller: Caller, form_token: str, *, asks_who: bool) -> str:
    """Who somebody is, what they may do, and the form to sign out of a session."""
    return render_page(
        "account.html",
        path="/account",
        title="Account",
        section="Account",
        caller=caller,
        grants=[_grant(scope) for scope in caller.scopes],
        asks_who=asks_who,
        form_token=form_token,
    )


def _grant(text: str) -> tuple[str, str, str]:
    """A scope, the model it is limited to, and what it opens."""
    scope, _, model = text.partition(":")
    return scope, model or "every model", SCOPE_TEXTS.get(scope, "nothing that this version knows")
