"""The pages of the audit log and of API keys: filters, going back, and entries that were changed."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import delete, update

from mlplatform.audit import audit_entries, entry_search
from mlplatform.audit.entry_search import EntryFilter, log_head, search_entries
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import revoke_key
from mlplatform.serve.api_server import ApiServer
from mlplatform.store.database import Database
from mlplatform.store.tables.audit import audit_log
from tests.support.api_server import problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.platform_world import START

HOSTILE = "</td><script>alert(1)</script>"


def write_entries(database: Database, count: int = 5, actor: str = "ada", action: str = "promote") -> None:
    for number in range(count):
        with database.write() as connection:
            details = {"reason": f"reason {number}", "rows": {"a": "digest"}}
            audit_entries.append(connection, actor, action, f"digits/{number}", START, details)


def cells(page: str, name: str) -> list[str]:
    return re.findall(rf'<td data-name="{name}">(.*?)</td>', page, re.DOTALL)


def test_the_log_is_listed_newest_first_without_what_only_a_verification_reads(
    server: ApiServer, client: httpx.Client
) -> None:
    write_entries(server.context.database)
    write_entries(server.context.database, 1, HOSTILE, HOSTILE)
    page = client.get("/audit").text
    assert cells(page, "subject")[1:6] == [f"digits/{number}" for number in (4, 3, 2, 1, 0)]
    assert cells(page, "details")[1] == "reason: reason 4"
    assert "<script>alert" not in page
    assert "sound as far as shown" in page
    assert "platform audit verify" in page


def test_the_log_is_filtered_and_read_backwards(server: ApiServer, client: httpx.Client) -> None:
    write_entries(server.context.database, 60)
    write_entries(server.context.database, 3, "grace", "silence")
    page = client.get("/audit", params={"actor": " grace ", "action": "silence", "subject": "digits/"}).text
    assert cells(page, "actor") == ["grace"] * 3
    assert 'value="grace"' in page
    page = client.get("/audit", params={"actor": "ada"}).text
    assert len(cells(page, "actor")) == 50
    [older] = re.findall(r'href="\./audit\?([^"]*before[^"]*)"', page)
    rest = client.get(f"/audit?{older.replace('&amp;', '&')}").text
    assert cells(rest, "subject") == [f"digits/{number}" for number in range(9, -1, -1)]
    assert parse_qs(urlsplit(f"?{older.replace('&amp;', '&')}").query)["actor"] == ["ada"]
    assert "No entry fits" in client.get("/audit?actor=nobody").text


@pytest.mark.parametrize("query", ["actor=%00", "before=0", "before=x", f"before={2**31}", f"subject={'x' * 201}"])
def test_a_filter_that_cannot_be_is_refused(client: httpx.Client, query: str) -> None:
    problem(client.get(f"/audit?{query}"), 422)


def test_an_entry_that_was_changed_is_shown_as_such(server: ApiServer, client: httpx.Client) -> None:
    write_entries(server.context.database)
    with server.context.database.write() as connection:
        connection.execute(update(audit_log).where(audit_log.c.subject == "digits/2").values(actor="nobody"))
    page = client.get("/audit").text
    changed = ["changed" in text for text in cells(page, "number")]
    assert changed[:5] == [False, False, True, False, False]
    assert '<span class="badge critical">changed</span>' in page
    assert "1 of the entries shown" in page


def test_an_end_that_was_removed_is_said(server: ApiServer, client: httpx.Client) -> None:
    write_entries(server.context.database)
    with server.context.database.write() as connection:
        connection.execute(delete(audit_log).where(audit_log.c.subject == "digits/4"))
    assert "entries were removed or added" in client.get("/audit").text


@pytest.mark.both_databases
def test_a_filter_looks_through_so_many_entries_and_says_where_to_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_search, "SCAN_LIMIT", 10)
    write_entries(database, 1, "grace")
    write_entries(database, 15)
    seen, before, turns = [], None, 0
    with database.read() as connection:
        while turns == 0 or before is not None:
            found = search_entries(connection, EntryFilter(actor="grace", before=before), 3)
            seen += [each.entry.actor for each in found.entries]
            before, turns = found.older, turns + 1
        assert (seen, turns) == (["grace"], 2)
        assert all(each.is_intact for each in search_entries(connection, EntryFilter(), 100).entries)
        assert log_head(connection).is_intact
        assert search_entries(connection, EntryFilter(subject="digits/%"), 3).entries == []


def test_keys_are_listed_without_their_secret(lite: AppContext) -> None:
    server = guarded(lite)
    text, gone = key(server, "audit", name=HOSTILE), key(server, "predict", name="till")
    revoke_key(server.context, gone.split("_")[1], "cli")
    with running(server) as client:
        page = client.get("/keys", headers=shown(text, "basic")).text
        assert client.get("/keys").status_code == 401
        assert client.get("/audit", headers=shown(key(server, "predict"))).status_code == 403
    assert re.findall(r'<td data-name="state" class="(\w+)">', page) == ["ok", "failed"]
    assert cells(page, "scopes") == ["audit", "predict"]
    assert "<script>alert" not in page
    for secret in (text, gone):
        assert secret.split("_")[2] not in page
