"""The pages for people: what they show, and that nothing from outside becomes markup."""

import re

import pytest

from mlplatform.alerting import alert_records
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.promotion import promotion_history
from mlplatform.serve.api_server import ApiServer
from tests.support.api_server import running
from tests.support.monitoring_world import RULES, all_alerts, breach, rule, with_rules
from tests.support.waiting import eventually


@pytest.fixture
def firing(server: ApiServer) -> str:
    """The id of an alert that fires."""
    breach(with_rules(server.context))
    evaluate(server.context, rule(server.context, "accuracy-drop"), server.context.clock())
    [alert] = [each for each in all_alerts(server.context) if each.rule == "accuracy-drop"]
    return alert.id


def test_the_overview_says_what_is_wrong_what_is_done_and_what_a_person_must_do(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "version 1 serves" in page.text
    story = dict(re.findall(r"<dt>([^<]+)</dt><dd>(.*?)</dd>", page.text, re.DOTALL))
    assert story["What is wrong"].startswith("Accuracy is")
    assert story["What is being done"] == "A retraining waits."
    assert f'<a href="./alerts/{firing}">Look at accuracy-drop, and acknowledge it</a>' in story["What you must do"]
    assert "Start a watcher" in story["What you must do"]
    assert 'class="card model critical"' in page.text


def test_the_overview_draws_accuracy_with_its_band_and_what_it_is_held_against(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        page = client.get("/").text
    assert "golden set (99.0 %)" in page
    assert "allowed (98.5 %)" in page
    assert "critical alert: accuracy-drop" in page
    assert re.search(r"<td>33\.3 % \(\d+\.\d % to \d+\.\d %\), 60 labels</td>", page), "the data stands in a table"


def test_the_overview_has_a_card_for_each_model_the_gravest_first(server: ApiServer, firing: str) -> None:
    with server.context.database.write() as connection:
        for name in ("arabic", "<script>evil</script>"):
            promotion_history.append(
                connection,
                model_name=name,
                expected=None,
                to_version=4,
                kind="first",
                now=server.context.clock(),
                actor="ada",
                reason="r",
                fence=1,
            )
    with running(server) as client:
        page = client.get("/").text
    names = re.findall(r'<h2 id="model-\d-title"><a[^>]*>([^<]+)</a></h2>', page)
    assert names[0] == "digits"
    assert set(names) == {"digits", "arabic", "&lt;script&gt;evil&lt;/script&gt;"}
    assert "version 4 serves" in page


def test_without_a_champion_the_overview_says_how_to_make_one(server: ApiServer) -> None:
    with_rules(server.context)
    with running(server) as client:
        page = client.get("/").text
    assert "No version serves yet: `platform train` makes the first." in page


def test_rules_that_cannot_be_read_leave_the_overview_without_its_threshold(server: ApiServer, firing: str) -> None:
    with_rules(server.context, "rules: nonsense")
    with running(server) as client:
        page = client.get("/")
    assert page.status_code == 200
    assert "golden set (99.0 %)" in page.text
    assert "allowed (" not in page.text


def test_the_list_of_alerts_shows_open_ones_and_where_to_read_on(server: ApiServer, firing: str) -> None:
    with running(server) as client:
        page = client.get("/alerts").text
    cells = re.findall(r'<td data-name="([a-z]+)"', page)
    assert page.count("<td") == len(cells)
    assert f'<a href="./alerts/{firing}">accuracy-drop</a>' in page
    assert "None ended lately." in page


def test_what_people_wrote_is_shown_as_text(server: ApiServer, firing: str) -> None:
    with server.context.database.write() as connection:
        alert = alert_records.find(connection, firing)
        evaluation = alert_records.list_alerts(connection)[0].evaluation_id
        alert_records.save(connection, alert, "<script>alert(1)</script>", evaluation)
    with running(server) as client:
        for path in ("/", "/alerts"):
            page = client.get(path).text
            assert "<script>" not in page
            assert "&lt;script&gt;" in page


def test_a_models_page_says_beside_a_rule_what_it_can_find(server: ApiServer) -> None:
    with_rules(server.context, RULES.replace("min_samples: 20,", "min_samples: 20, false_alarms: 1 per 90d,"))
    breach(server.context)
    for name in ("accuracy-drop", "latency"):
        evaluate(server.context, rule(server.context, name), server.context.clock())
    with running(server) as client:
        eventually(lambda: "It finds: " in client.get("/models/digits").text)
        page = client.get("/models/digits").text
    rows = re.findall(r'<td data-name="rule">([a-z-]+)</td>(.*?)</tr>', page, re.DOTALL)
    finds = {name: re.findall(r"It finds: ([^<]*)", cells) for name, cells in rows}
    assert re.search(r"a drop of .* points is found within \d+ days in 9 of 10 cases", finds["accuracy-drop"][0])
    assert finds["latency"] == [], "it reads no labels"
