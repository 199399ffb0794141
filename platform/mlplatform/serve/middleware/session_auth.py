"""Recognises people by the session in their browser's cookie, and sends those without one to sign in."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from anyio import to_thread
from starlette.responses import RedirectResponse
from starlette.types import Scope

from mlplatform.auth.caller import Caller
from mlplatform.auth.return_paths import own_path
from mlplatform.auth.sessions import Sessions
from mlplatform.serve.middleware.scope_rules import SIGN_IN_PATH
from mlplatform.serve.problem_details import accepts_html, unprefixed_path
from mlplatform.serve.session_cookies import SESSION, SessionCookies


@dataclass(frozen=True)
class SessionAuth:
    """How a server knows sessions; `is_ended` tells of those that were signed out of."""

    sessions: Sessions
    cookies: SessionCookies
    is_ended: Callable[[str], bool]
    root_path: str

    async def find_caller(self, cookie_header: str) -> Caller | None:
        """Who is signed in, with the scopes of their groups as the settings give them now.

        Asks the database once in a server's life; raises StoreUnavailableError then.
        """
        text = self.cookies.read(cookie_header, SESSION)
        if not text:
            return None
        if not self.sessions.signer.is_ready:
            await to_thread.run_sync(self.sessions.signer.load)
        session = self.sessions.find(text)
        if session is None or self.is_ended(session.id):
            return None
        person = session.person
        return Caller(person.name, person.id, self.sessions.scopes_of(person), session_id=session.id)

    def redirect(self, scope: Scope) -> RedirectResponse | None:
        """The way to the page to sign in, for a browser that asks for a page; None for everybody else."""
        if scope["method"] not in ("GET", "HEAD") or not accepts_html(scope):
            return None
        path, query = unprefixed_path(scope), scope.get("query_string", b"").decode("latin-1")
        wanted = own_path(f"{path}?{query}" if query else path)
        return RedirectResponse(f"{self.root_path}{SIGN_IN_PATH}?next={quote(wanted, safe='/')}", status_code=303)
