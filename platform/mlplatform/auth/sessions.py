"""Sessions of people who signed in: a signed text in their browser says who they are, and for how long.

A server keeps nothing of a session but that it was ended. Scopes are not in it: the groups are, and what these may do
is read from the settings at each request, so a change of settings takes effect with the restart that brings it; so
is how long a session may last.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from mlplatform.access_settings import MAX_SESSION_HOURS
from mlplatform.audit import audit_entries
from mlplatform.auth import spent_tokens
from mlplatform.auth.sign_in_errors import SignInRefusedError
from mlplatform.auth.token_signer import TokenSigner
from mlplatform.clock import EPOCH, Clock
from mlplatform.scopes import validate_scopes
from mlplatform.store.database import Database

SIGNING_KEY: Final = "sessions"
PURPOSE: Final = "session"
PERSON_ID_LENGTH: Final = 24
MAX_COOKIE_LENGTH: Final = 3_800
"""Browsers keep cookies of up to 4,096 bytes."""
CLOCK_SKEW: Final = timedelta(minutes=5)
"""The clocks of two servers differ by less."""
ENDED_RETENTION: Final = timedelta(hours=MAX_SESSION_HOURS, days=1)
"""For so long it is known that a session was ended: longer than any lasts, whatever the settings that it began under
said, and by a day, for a clock that runs ahead."""


@dataclass(frozen=True)
class Person:
    """Somebody whom a provider vouched for; `groups` are those that the settings give scopes."""

    issuer: str
    subject: str
    name: str
    groups: tuple[str, ...]

    @property
    def id(self) -> str:
        """What stands for the person where a key's id would: one for each account of each provider."""
        digest = sha256(f"{self.issuer}\0{self.subject}".encode()).hexdigest()[:PERSON_ID_LENGTH]
        return f"person/{digest}"


@dataclass(frozen=True)
class Session:
    """A person who is signed in until a moment."""

    id: str
    person: Person
    ends_at: datetime


class Sessions:
    """Begins, recognises and ends the sessions of one server; threads may share it."""

    def __init__(
        self,
        database: Callable[[], Database],
        clock: Clock,
        *,
        issuer: str,
        lifetime: timedelta,
        scopes_by_group: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._database, self._clock, self._issuer, self.lifetime = database, clock, issuer, lifetime
        self._scopes_by_group = scopes_by_group
        self.signer = TokenSigner(database, clock, SIGNING_KEY)

    def scopes_of(self, person: Person) -> tuple[str, ...]:
        """What the person's groups may do; nothing for groups without scopes."""
        granted = {scope for group in person.groups for scope in self._scopes_by_group.get(group, ())}
        return validate_scopes(granted) if granted else ()

    def groups_with_scopes(self, groups: list[str]) -> tuple[str, ...]:
        """Those of the groups that are given scopes."""
        return tuple(sorted(set(groups) & self._scopes_by_group.keys()))

    def begin(self, person: Person) -> tuple[Session, str]:
        """A new session, noted in the audit log, and the text that shows it.

        Raises SignInRefusedError for somebody in more groups than fit in a cookie.
        """
        now = self._clock()
        session = Session(secrets.token_urlsafe(24), person, now + self.lifetime)
        values = {"id": session.id, "until": int((session.ends_at - EPOCH).total_seconds()), **asdict(person)}
        text = self.signer.seal(PURPOSE, values)
        if len(text) > MAX_COOKIE_LENGTH:
            raise SignInRefusedError(
                f"{person.name} is in {len(person.groups)} groups with scopes, more than fit in a cookie: "
                "name fewer in PLATFORM_OIDC_GROUPS"
            )
        details = {"issuer": person.issuer, "subject": person.subject, "groups": list(person.groups)}
        with self._database().write() as connection:
            audit_entries.append(connection, person.name, "sign-in", person.id, now, details)
        return session, text

    def find(self, text: str) -> Session | None:
        """The session that a text shows.

        None for one that is over, that would last longer than sessions do now, of another provider, or none.
        """
        values = self.signer.unseal(PURPOSE, text)
        if values is None:
            return None
        person = Person(values["issuer"], values["subject"], values["name"], tuple(values["groups"]))
        session, now = Session(values["id"], person, EPOCH + timedelta(seconds=values["until"])), self._clock()
        is_running = now < session.ends_at <= now + self.lifetime + CLOCK_SKEW
        return session if is_running and person.issuer == self._issuer else None

    def end(self, session_id: str, name: str, person_id: str) -> None:
        """Let a session be good no more; raises StoreUnavailableError. Ending it again changes nothing."""
        now = self._clock()
        with self._database().write() as connection:
            if spent_tokens.spend(connection, session_id, now + ENDED_RETENTION, now):
                audit_entries.append(connection, name, "sign-out", person_id, now)
