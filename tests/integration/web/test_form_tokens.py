"""Every form of a page is refused without the token that its page gave to this caller."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import httpx
import pytest
from fastapi.routing import APIRoute

from mlplatform.auth.caller import ANONYMOUS, Caller
from mlplatform.auth.form_tokens import FormRefusedError, FormTokens
from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.app import create_app
from mlplatform.store.database import Database
from tests.support.api_server import problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.page_forms import form_token, form_tokens, holder
from tests.support.platform_world import FakeClock
from tests.support.store_rows import together

ADA = Caller("ada", "key1")


def form_paths(server: ApiServer) -> list[str]:
    """Every route of a page that changes something, with a name for each of its parameters."""
    return sorted(
        re.sub("{[a-z_]+}", "1", route.path)
        for route in create_app(server).routes
        if isinstance(route, APIRoute)
        if not route.include_in_schema and set(route.methods or ()) - {"GET", "HEAD"}
    )


@pytest.fixture
def admin(lite: AppContext) -> Iterator[tuple[httpx.Client, ApiServer, str]]:
    """A client that shows the key of an admin as a browser does, its server, and the key."""
    server = guarded(lite)
    text = key(server, "admin")
    with running(server) as client:
        client.headers.update(shown(text, "basic"))
        yield client, server, text


def test_every_form_of_a_page_is_refused_without_its_token(admin: tuple[httpx.Client, ApiServer, str]) -> None:
    client, server, text = admin
    paths = form_paths(server)
    assert {"/alerts/1/acknowledge", "/alerts/1/silence", "/review/1"} <= set(paths)
    foreign = {
        "none": {},
        "empty": {"form_token": ""},
        "garbage": {"form_token": "1.x" * 40},
        "not a number": {"form_token": "\u0661.x"},
        "of nobody": form_token(server),
        "of another key": form_token(server, Caller("ada", "other")),
        "of the same key under another name": form_token(server, holder(text, "eve")),
    }
    for path in paths:
        for token in foreign.values():
            assert "form" in problem(client.post(path, data=token), 403)
        answer = client.post(path, data=form_token(server, holder(text)))
        assert answer.status_code in (303, 404, 409, 422), (path, answer.text)


def test_a_browser_is_shown_what_to_do_with_a_form_that_is_refused(server: ApiServer, client: httpx.Client) -> None:
    refused = client.post("/review/draw", headers={"accept": "text/html"})
    assert refused.status_code == 403
    assert "load the page again and send its form" in refused.text


@pytest.mark.both_databases
def test_a_token_is_for_one_caller_and_a_day(database: Database) -> None:
    clock = FakeClock()
    tokens = FormTokens(lambda: database, clock)
    token = tokens.issue(ADA)
    tokens.check(ADA, token)
    for other in (ANONYMOUS, Caller("ada", "key2"), Caller("eve", "key1")):
        with pytest.raises(FormRefusedError, match="for somebody else"):
            tokens.check(other, token)
    seconds, _, signature = token.partition(".")
    with pytest.raises(FormRefusedError, match="for somebody else"):
        tokens.check(ADA, f"{int(seconds) + 1}.{signature}")
    clock.now += timedelta(hours=24)
    tokens.check(ADA, token)
    clock.now += timedelta(seconds=1)
    with pytest.raises(FormRefusedError, match="24 hours old"):
        tokens.check(ADA, token)
    clock.now -= timedelta(days=2)
    with pytest.raises(FormRefusedError, match="hours old"):
        tokens.check(ADA, token)


@pytest.mark.both_databases
def test_servers_that_start_together_take_each_others_forms(database: Database) -> None:
    servers = [FormTokens(lambda: database, FakeClock()) for _ in range(4)]
    tokens = together(*(partial(each.issue, ADA) for each in servers))
    assert len(set(tokens)) == 1
    FormTokens(lambda: database, FakeClock()).check(ADA, str(tokens[0]))


def test_a_servers_token_is_good_after_a_restart(server: ApiServer) -> None:
    token = form_token(server)["form_token"]
    form_tokens(server).check(ANONYMOUS, token)
