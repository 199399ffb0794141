"""The page of one alert: what it shows, and its forms, which need their scope and leave their mark in the audit log."""

import re
from datetime import timedelta

import httpx
import pytest

from mlplatform.alerting import alert_records, outbox
from mlplatform.audit.audit_entries import recent_entries
from mlplatform.context import AppContext
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.serve.api_server import ApiServer
from tests.support.api_server import problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.monitoring_world import all_alerts, breach, rule, with_rules
from tests.support.page_forms import form_token, holder

BUTTON = "<button>Acknowledge</button>"


def fired(context: AppContext) -> str:
    """Let an alert fire; returns its id."""
    breach(with_rules(context))
    evaluate(context, rule(context, "accuracy-drop"), context.clock())
    [alert] = [each for each in all_alerts(context) if each.rule == "accuracy-drop"]
    return alert.id


@pytest.fixture
def firing(server: ApiServer) -> str:
    """The id of an alert that fires."""
    return fired(server.context)


def state(server: ApiServer, alert_id: str) -> str:
    with server.context.database.read() as connection:
        return alert_records.find(connection, alert_id).state


def test_the_page_says_what_how_sure_since_when_and_what_happens_next(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        page = client.get(f"/alerts/{firing}").text
    assert "Accuracy is" in page
    facts = dict(re.findall(r"<dt>([^<]+)</dt><dd>(.*?)</dd>", page, re.DOTALL))
    assert facts["How sure"].startswith('proved<svg class="gauge"')
    assert "fired <time" in facts["Since when"]
    assert facts["What happens next"].startswith("The retraining it asked for is queued. It reminds until")
    assert "this alert" in page
    assert "Why it fired" in page


def test_the_page_shows_the_worst_examples_as_pictures(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        page = client.get(f"/alerts/{firing}").text
        [picture] = re.findall(r'<img src="\.\./(v1/predictions/[^"]+/image)"', page)
        assert client.get(f"/{picture}").content.startswith(b"\x89PNG")
    assert 'alt="input of class 3, answered as 5"' in page


def test_the_page_says_who_was_told_and_whether_it_arrived(server: ApiServer, firing: str) -> None:
    with server.context.database.write() as connection:
        first, *_ = outbox.recent_messages(connection)
        outbox.mark_delivered(connection, first.id, server.context.clock())
    with running(server) as client:
        page = client.get(f"/alerts/{firing}").text
    assert re.search(rf'firing to {first.channel}: <span class="ok">arrived</span>', page)
    assert page.count("arrived") == 1
    assert '<span class="pending">waiting</span>, 0 tries' in page


def test_it_is_acknowledged_once_with_a_note(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        assert BUTTON in client.get(f"/alerts/{firing}").text
        answer = client.post(
            f"/alerts/{firing}/acknowledge", data={"note": "the <b>new</b>\nscanner"} | form_token(server)
        )
        assert answer.status_code == 303
        page = client.get(f"/alerts/{firing}").text
        assert BUTTON not in page
        assert "the &lt;b&gt;new&lt;/b&gt; scanner" in page
        assert client.post(f"/alerts/{firing}/acknowledge", data=form_token(server)).status_code == 303
    with server.context.database.read() as connection:
        assert alert_records.find(connection, firing).state == "acknowledged"
        changes = alert_records.list_transitions(connection, firing)
        [entry] = [each for each in recent_entries(connection) if each["action"] == "acknowledge"]
    assert [(each.actor, each.reason) for each in changes][1:] == [("dashboard", "the <b>new</b> scanner")]
    assert entry["details"] == {"note": "the <b>new</b> scanner"}


def test_it_is_silenced_for_a_while_with_a_reason(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        form = {"duration": "4h", "reason": "maintenance <script>"}
        assert client.post(f"/alerts/{firing}/silence", data=form | form_token(server)).status_code == 303
        page = client.get(f"/alerts/{firing}").text
    assert "maintenance &lt;script&gt;" in page
    assert "It tells nobody while it is silenced." in page
    with server.context.database.read() as connection:
        [silence] = alert_records.active_silences(connection, server.context.clock())
        assert silence.covers(alert_records.find(connection, firing), server.context.clock())
        [entry] = [each for each in recent_entries(connection) if each["action"] == "silence"]
    assert timedelta(hours=3, minutes=50) < silence.until - server.context.clock() <= timedelta(hours=4)
    assert entry["actor"] == "dashboard"
    assert entry["details"]["reason"] == "maintenance <script>"


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"duration": "4h", "reason": " "}, "needs its reason"),
        ({"duration": "4h"}, "reason"),
        ({"duration": "for ever", "reason": "r"}, "duration 'for ever' is not a duration"),
        ({"duration": "500d", "reason": "r"}, "up to 365d"),
        ({"duration": "4h", "reason": "r" * 501}, "say it in 500"),
    ],
)
def test_a_silence_that_cannot_be_is_refused_and_says_why(
    server: ApiServer, firing: str, form: dict[str, str], told: str
) -> None:
    with running(server) as client:
        assert told in problem(client.post(f"/alerts/{firing}/silence", data=form | form_token(server)), 422)
    with server.context.database.read() as connection:
        assert alert_records.active_silences(connection, server.context.clock()) == []


@pytest.mark.parametrize("act", ["acknowledge", "silence"])
@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "http://evil.test"}])
def test_another_sites_form_changes_nothing(server: ApiServer, firing: str, act: str, headers: dict[str, str]) -> None:
    with running(server) as client:
        form = {"duration": "4h", "reason": "r"} | form_token(server)
        answer = client.post(f"/alerts/{firing}/{act}", data=form, headers=headers)
    assert answer.status_code == 403
    assert state(server, firing) == "firing"
    with server.context.database.read() as connection:
        assert alert_records.active_silences(connection, server.context.clock()) == []


def test_a_key_that_may_only_read_changes_nothing_and_a_name_stands_beside_what_an_admin_did(lite: AppContext) -> None:
    server = guarded(lite)
    alert_id = fired(server.context)
    reader_key, admin_key = key(server, "audit"), key(server, "admin", name="grace")
    reader, admin = shown(reader_key, "basic"), shown(admin_key, "basic")
    with running(server) as client:
        assert client.get(f"/alerts/{alert_id}", headers=reader).status_code == 200
        for act in ("acknowledge", "silence"):
            form = {"duration": "1h", "reason": "r"} | form_token(server, holder(reader_key))
            assert client.post(f"/alerts/{alert_id}/{act}", data=form, headers=reader).status_code == 403
        assert state(server, alert_id) == "firing"
        form = form_token(server, holder(admin_key, "grace"))
        assert client.post(f"/alerts/{alert_id}/acknowledge", data=form, headers=admin).status_code == 303
    with server.context.database.read() as connection:
        [entry] = [each for each in recent_entries(connection) if each["action"] == "acknowledge"]
    assert entry["actor"] == "grace"


def test_an_unknown_alert_is_not_found(client: httpx.Client, server: ApiServer) -> None:
    with_rules(server.context)
    assert client.get("/alerts/nobody").status_code == 404
    token = form_token(server)
    assert client.post("/alerts/nobody/acknowledge", data=token).status_code == 404
    assert client.post("/alerts/nobody/silence", data={"duration": "1h", "reason": "r"} | token).status_code == 404
