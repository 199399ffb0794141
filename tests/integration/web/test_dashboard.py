"""The pages for people: what they show, and that nothing from outside becomes markup."""

import re

import httpx
import pytest

from mlplatform.alerting import alert_records
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.serve.api_server import ApiServer
from tests.support.api_server import running
from tests.support.monitoring_world import RULES, all_alerts, breach, rule, with_rules


@pytest.fixture
def firing(server: ApiServer) -> str:
    """The id of an alert that fires."""
    breach(with_rules(server.context))
    evaluate(server.context, rule(server.context, "accuracy-drop"), server.context.clock())
    [alert] = [each for each in all_alerts(server.context) if each.rule == "accuracy-drop"]
    return alert.id


@pytest.mark.parametrize("path", ["/", "/alerts"])
def test_the_dashboard_shows_champion_alerts_and_where_to_read_on(server: ApiServer, firing: str, path: str) -> None:
    with running(server) as client:
        page = client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "version 1 serves" in page.text
    assert f"alerts/{firing}" in page.text
    assert "Accuracy is" in page.text


def test_on_the_dashboard_every_value_has_its_name_and_every_time_is_to_the_minute(
    server: ApiServer, firing: str
) -> None:
    with running(server) as client:
        page = client.get("/").text
    cells = re.findall(r"<td data-name='([a-z ]+)'[^>]*>([^<]*)", page)
    assert page.count("<td") == len(cells)
    times = [text for name, text in cells if name in ("at", "opened at", "requested at")]
    assert times
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text) for text in times)


def test_the_dashboard_says_beside_a_rule_what_it_can_find(server: ApiServer) -> None:
    with_rules(server.context, RULES.replace("min_samples: 20,", "min_samples: 20, false_alarms: 1 per 90d,"))
    breach(server.context)
    for name in ("accuracy-drop", "latency"):
        evaluate(server.context, rule(server.context, name), server.context.clock())
    with running(server) as client:
        page = client.get("/").text
    finds = dict(re.findall(r"<td data-name='rule'>([a-z-]+)</td>.*?<td data-name='finds'>([^<]*)", page))
    assert re.search(r"a drop of .* points is found within \d+ days in 9 of 10 cases", finds["accuracy-drop"])
    assert finds["latency"] == "", "it reads no labels"


def test_an_alerts_page_explains_it_and_takes_an_acknowledgement_once(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        page = client.get(f"/alerts/{firing}").text
        assert "Why it fired" in page
        assert "<button>Acknowledge</button>" in page
        answer = client.post(f"/alerts/{firing}/acknowledge")
        assert answer.status_code == 303
        assert "<button>" not in client.get(f"/alerts/{firing}").text
        assert client.post(f"/alerts/{firing}/acknowledge").status_code == 303
        with server.context.database.read() as connection:
            assert alert_records.find(connection, firing).state == "acknowledged"
            assert [each["actor"] for each in alert_records.list_transitions(connection, firing)] == [
                "watcher",
                "dashboard",
            ]


def test_another_sites_form_acknowledges_nothing(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        answer = client.post(f"/alerts/{firing}/acknowledge", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    with server.context.database.read() as connection:
        assert alert_records.find(connection, firing).state == "firing"


def test_an_unknown_alert_is_not_found(client: httpx.Client, server: ApiServer) -> None:
    with_rules(server.context)
    assert client.get("/alerts/nobody").status_code == 404
    assert client.post("/alerts/nobody/acknowledge").status_code == 404


def test_what_people_wrote_is_shown_as_text(server: ApiServer, firing: str) -> None:
    with server.context.database.write() as connection:
        alert = alert_records.find(connection, firing)
        evaluation = alert_records.list_alerts(connection)[0]["evaluation_id"]
        alert_records.save(connection, alert, "<script>alert(1)</script>", evaluation)
    with running(server) as client:
        page = client.get("/").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
