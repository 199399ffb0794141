"""Sessions and completed sign-ins on either database: begun, recognised by every server, ended once."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select, update

from mlplatform.access_settings import MAX_SESSION_HOURS
from mlplatform.audit import audit_entries
from mlplatform.auth import spent_tokens
from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.auth.sessions import Person, Sessions
from mlplatform.auth.sign_in_errors import SignInRefusedError
from mlplatform.auth.token_signer import TokenSigner
from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database
from mlplatform.store.tables.auth import server_secrets
from tests.support.platform_world import START, FakeClock
from tests.support.store_rows import together, verify_audit_log, writing

ISSUER = "https://id.example.org"
ANN = Person(ISSUER, "subject-1", "ann@example.org", ("ml-team",))
GROUPS = {"ml-team": ("review", "audit:digits"), "bosses": ("admin",)}


def sessions_of(database: Database, clock: FakeClock, issuer: str = ISSUER, hours: float = 8) -> Sessions:
    return Sessions(lambda: database, clock, issuer=issuer, lifetime=timedelta(hours=hours), scopes_by_group=GROUPS)


@pytest.mark.both_databases
def test_a_session_is_known_to_every_server_until_its_end(database: Database) -> None:
    clock = FakeClock()
    session, text = sessions_of(database, clock).begin(ANN)
    other = sessions_of(database, clock)
    assert other.find(text) == session
    assert other.scopes_of(session.person) == ("audit:digits", "review")
    assert sessions_of(database, clock, "https://other.example.org").find(text) is None
    clock.tick(hours=8)
    assert other.find(text) is None


@pytest.mark.both_databases
def test_servers_that_start_at_the_same_moment_sign_with_the_same_secret(database: Database) -> None:
    signers = [TokenSigner(lambda: database, FakeClock(), "sessions") for _ in range(6)]
    made = together(*(signer.load for signer in signers))
    assert len(set(map(repr, made))) == 1
    assert isinstance(made[0], bytes)
    with database.read() as connection:
        assert len(connection.execute(select(server_secrets.c.name)).all()) == 1


@pytest.mark.both_databases
def test_a_token_is_spent_once_whoever_comes_at_the_same_moment(database: Database) -> None:
    until = START + timedelta(minutes=10)
    call = writing(database, partial(spent_tokens.spend, token_id="state", expires_at=until, now=START))
    assert sorted(map(bool, together(*[call] * 6))) == [False] * 5 + [True]


@pytest.mark.both_databases
def test_tokens_are_forgotten_once_they_would_have_expired(database: Database) -> None:
    until = START + timedelta(minutes=10)
    with database.write() as connection:
        assert spent_tokens.spend(connection, "first", until, START)
        assert spent_tokens.list_spent(connection, START) == {"first"}
        assert spent_tokens.list_spent(connection, until + timedelta(seconds=1)) == set()
        assert spent_tokens.spend(connection, "second", until + timedelta(hours=1), until + timedelta(seconds=1))
        assert spent_tokens.list_spent(connection, START) == {"second"}


@pytest.mark.both_databases
def test_many_who_come_after_an_expiry_remove_it_without_waiting_for_each_other(database: Database) -> None:
    with database.write() as connection:
        for number in range(50):
            spent_tokens.spend(connection, f"old-{number}", START, START)
    later = START + timedelta(hours=1)
    calls = [
        writing(database, partial(spent_tokens.spend, token_id=f"new-{number}", expires_at=later, now=later))
        for number in range(8)
    ]
    assert together(*calls) == [True] * 8
    with database.read() as connection:
        assert spent_tokens.list_spent(connection, START) == {f"new-{number}" for number in range(8)}


@pytest.mark.both_databases
def test_an_ended_session_is_known_to_every_server_at_its_next_reading(database: Database) -> None:
    clock = FakeClock()
    sessions = sessions_of(database, clock)
    session, _ = sessions.begin(ANN)
    here, elsewhere = ApiKeyCache(lambda: database, clock), ApiKeyCache(lambda: database, clock)
    assert here.refresh()
    assert elsewhere.refresh()
    for _ in range(2):
        sessions.end(session.id, ANN.name, ANN.id)
    here.note_ended(session.id)
    assert here.is_ended(session.id)
    assert not elsewhere.is_ended(session.id)
    assert elsewhere.refresh()
    assert here.refresh()
    assert elsewhere.is_ended(session.id)
    assert here.is_ended(session.id)
    assert not here.is_ended("another")
    with database.read() as connection:
        entries = [stored.entry for stored in audit_entries.iter_entries(connection)]
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        (ANN.name, "sign-in", ANN.id),
        (ANN.name, "sign-out", ANN.id),
    ]
    assert entries[0].details == {"issuer": ISSUER, "subject": "subject-1", "groups": ["ml-team"]}


@pytest.mark.both_databases
def test_a_session_that_was_ended_stays_ended_whatever_settings_the_servers_have(database: Database) -> None:
    clock = FakeClock()
    long, short = (sessions_of(database, clock, hours=hours) for hours in (MAX_SESSION_HOURS, 1))
    session, text = long.begin(ANN)
    short.end(session.id, ANN.name, ANN.id)
    for _ in range(MAX_SESSION_HOURS // 12):
        clock.tick(hours=12)
        other, _ = short.begin(ANN)
        short.end(other.id, ANN.name, ANN.id)  # which forgets what has expired
        ended = ApiKeyCache(lambda: database, clock)
        assert ended.refresh()
        assert long.find(text) is None or ended.is_ended(session.id), clock()


def test_a_session_lasts_no_longer_than_the_settings_of_now_allow(database: Database) -> None:
    clock = FakeClock()
    _, text = sessions_of(database, clock, hours=100).begin(ANN)
    short = sessions_of(database, clock, hours=8)
    assert short.find(text) is None
    clock.tick(hours=93)
    assert short.find(text) is not None
    _, text = short.begin(ANN)
    clock.tick(hours=-1)
    assert short.find(text) is None
    clock.tick(minutes=56)
    assert short.find(text) is not None


@pytest.mark.parametrize("damaged", ["", "ab", "ab" * 31])
def test_nothing_is_signed_with_a_secret_that_is_damaged(database: Database, damaged: str) -> None:
    sessions_of(database, FakeClock()).begin(ANN)
    with database.write() as connection:
        connection.execute(update(server_secrets).values(value=damaged))
    with pytest.raises(StoreUnavailableError, match="the secret 'sessions' cannot be read"):
        sessions_of(database, FakeClock()).find("e30.x")


def test_the_audit_log_with_sign_ins_is_verified(database: Database) -> None:
    sessions_of(database, FakeClock()).begin(ANN)
    assert verify_audit_log(database).faults == []


def test_a_text_sealed_for_one_purpose_or_by_another_secret_is_none(database: Database) -> None:
    signer, other = (TokenSigner(lambda: database, FakeClock(), name) for name in ("sessions", "form-tokens"))
    text = signer.seal("session", {"a": "ä\0"})
    assert signer.unseal("session", text) == {"a": "ä\0"}
    assert signer.unseal("sign-in", text) is None
    assert other.unseal("session", text) is None
    for wrong in ("", ".", "a.b", text[:-1], f"{text}.", f"{text}x", text.upper(), "é.é", "\ud800.x"):
        assert signer.unseal("session", wrong) is None


def test_people_of_two_providers_or_two_accounts_of_one_name_are_told_apart() -> None:
    people = {
        ANN,
        Person("https://b.example.org", "subject-1", ANN.name, ()),
        Person(ISSUER, "subject-2", ANN.name, ()),
    }
    assert len({person.id for person in people}) == 3


def test_a_session_of_many_groups_fits_in_a_cookie_or_is_refused(database: Database) -> None:
    clock = FakeClock()
    many = tuple(f"group-{number:040}" for number in range(40))
    _, text = sessions_of(database, clock).begin(Person(ISSUER, "s" * 255, "n" * 100, many))
    assert len(text) < 3_800
    with pytest.raises(SignInRefusedError, match="in 120 groups with scopes"):
        sessions_of(database, clock).begin(Person(ISSUER, "s", "n", many * 3))
