"""`platform alerts`."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mlplatform.alerting import alert_records
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.demo.receivers import run_receivers
from mlplatform.host.clock_steps import slot_at
from mlplatform.host.processes import free_port
from mlplatform.monitoring.evaluate import evaluate
from tests.support.command_line import Command
from tests.support.monitoring_world import all_alerts, breach, rule


@pytest.fixture
def firing(store: AppContext) -> str:
    """The id of an alert that fires now."""
    breach(store)
    evaluate(store, rule(store, "accuracy-drop"), utc_now())
    return all_alerts(store)[0].id


def test_without_alerts_the_list_is_empty(platform: Command, store: AppContext) -> None:
    assert platform("alerts", "list", "--json").json == []
    assert platform("alerts", "list").out == "alerts: none\n"


def test_open_alerts_are_listed(platform: Command, firing: str) -> None:
    [row] = platform("alerts", "list", "--json").json
    assert (row["id"], row["rule"], row["state"], row["model_version"]) == (firing, "accuracy-drop", "firing", 1)
    assert datetime.fromisoformat(row["since"]).tzinfo is not None
    assert "firing" in platform("alerts", "list").out


def test_closed_alerts_are_listed_when_all_are_asked_for(platform: Command, store: AppContext, firing: str) -> None:
    from dataclasses import replace

    with store.database.write() as connection:
        alert_records.update_state(connection, replace(all_alerts(store)[0], state="resolved"))
    assert platform("alerts", "list", "--json").json == []
    assert [row["id"] for row in platform("alerts", "list", "--all", "--json").json] == [firing]


def test_an_alert_is_acknowledged_once_and_for_all(platform: Command, store: AppContext, firing: str) -> None:
    for _ in range(2):
        said = platform("alerts", "ack", firing, "--by", "ada", "--json")
        assert (said.code, said.json) == (0, {"id": firing, "state": "acknowledged"})
    assert all_alerts(store)[0].state == "acknowledged"


def test_an_alert_that_is_closed_cannot_be_acknowledged(platform: Command, store: AppContext, firing: str) -> None:
    from dataclasses import replace

    with store.database.write() as connection:
        alert_records.update_state(connection, replace(all_alerts(store)[0], state="superseded"))
    said = platform("alerts", "ack", firing)
    assert said.code == 5
    assert "is superseded; only a firing alert can be acknowledged" in said.err


def test_an_unknown_alert_is_exit_code_4(platform: Command, store: AppContext) -> None:
    assert platform("alerts", "ack", "nope").code == 4


def test_a_silence_is_kept_until_its_end(platform: Command, store: AppContext) -> None:
    said = platform("alerts", "silence", "class-*", "--for", "8h", "--by", "ada", "--comment", "known", "--json")
    assert said.code == 0
    until = datetime.fromisoformat(said.json["until"])
    assert timedelta(hours=7, minutes=59) < until - utc_now() <= timedelta(hours=8)
    with store.database.read() as connection:
        assert [silence.rule for silence in alert_records.active_silences(connection, utc_now())] == ["class-*"]
    assert "latency is silent until " in platform("alerts", "silence", "latency").out


def test_silences_are_listed_and_ended(platform: Command, store: AppContext) -> None:
    assert platform("alerts", "silences").out == "silences: none\n"
    made = platform("alerts", "silence", "class-*", "--comment", "known", "--json").json["id"]
    assert "platform alerts unsilence" in platform("alerts", "silence", "latency").out
    listed = platform("alerts", "silences", "--json").json
    assert [(row["rule"], row["comment"]) for row in listed] == [("latency", ""), ("class-*", "known")]
    said = platform("alerts", "unsilence", made, "--by", "ada", "--json")
    assert (said.code, said.json) == (0, {"id": made, "state": "ended"})
    assert [row["rule"] for row in platform("alerts", "silences", "--json").json] == ["latency"]
    assert len(platform("alerts", "silences", "--all", "--json").json) == 2
    assert platform("alerts", "unsilence", made).code == 5
    assert platform("alerts", "unsilence", "nope").code == 4


def test_a_silence_of_no_rule_is_exit_code_4(platform: Command, store: AppContext) -> None:
    said = platform("alerts", "silence", "acuracy-drop")
    assert (said.code, "there are: accuracy-drop, class-error, latency" in said.err) == (4, True)


@pytest.mark.parametrize("length", ["nonsense", "8", "-1h", "1000000d", "366d", "8 h"])
def test_a_length_that_is_none_is_wrong_usage(platform: Command, store: AppContext, length: str) -> None:
    said = platform("alerts", "silence", "latency", f"--for={length}")
    if length == "8 h":
        assert said.code == 0
        return
    assert said.code == 2
    assert length in said.err


def test_an_alert_is_explained_in_words_and_as_json(platform: Command, firing: str) -> None:
    said, as_json = platform("alerts", "explain", firing), platform("alerts", "explain", firing, "--json")
    assert (said.code, as_json.code) == (0, 0)
    assert f" UTC\nalert {firing}\n\nWhy it fired\n  Accuracy is " in said.out
    assert as_json.json["alert"]["id"] == firing
    assert as_json.json["sections"]["History"][0] in said.out


def test_an_unknown_alert_cannot_be_explained(platform: Command, store: AppContext) -> None:
    assert platform("alerts", "explain", "nope").code == 4


def test_a_channel_is_tested_at_once(platform: Command, tmp_path: Path) -> None:
    port = free_port()
    rules = (tmp_path / "alerts.yaml").read_text().replace("http://slack.test", f"http://127.0.0.1:{port}")
    (tmp_path / "alerts.yaml").write_text(rules)
    with run_receivers(port, free_port()) as mailbox:
        assert platform("alerts", "test", "team-slack").out == "sent\n"
        assert platform("alerts", "test", "team-slack", "--json").json == {"channel": "team-slack", "state": "sent"}
        assert len(mailbox.posts) == 2


def test_a_channel_that_cannot_be_tested_is_an_error_with_its_own_code(platform: Command, tmp_path: Path) -> None:
    rules = (tmp_path / "alerts.yaml").read_text().replace("http://slack.test/hook", "http://127.0.0.1:9/SECRETPART")
    (tmp_path / "alerts.yaml").write_text(rules)
    refused = platform("alerts", "test", "team-slack")
    assert (refused.code, "SECRETPART" in refused.err) == (1, False)
    assert "channel 'team-slack': no answer (ConnectError)" in refused.err
    assert platform("alerts", "test", "nope").code == 4
    switched_off = platform("alerts", "test", "nobody")
    assert (switched_off.code, "url is empty" in switched_off.err) == (3, True)


def test_the_schema_is_json_either_way(platform: Command) -> None:
    plain, asked = platform("alerts", "schema"), platform("alerts", "schema", "--json")
    assert plain.json == asked.json
    assert plain.json["title"] == "alerts.yaml"


@pytest.fixture
def fired(store: AppContext) -> datetime:
    """When an alert fired on schedule."""
    breach(store)
    now = utc_now()
    evaluate(store, rule(store, "accuracy-drop"), slot_at(now, timedelta(minutes=1)))
    [alert] = all_alerts(store)
    assert alert.fired_at is not None
    return alert.fired_at


def test_a_backtest_finds_what_fired(platform: Command, fired: datetime) -> None:
    answer = platform("alerts", "backtest", "--since", "1h", "--json").json
    [alarm] = [each for each in answer["alarms"] if each["rule"] == "accuracy-drop"]
    assert (alarm["fired_at"], alarm["labels"], alarm["ended_at"]) == (fired.isoformat(), 60, None)
    assert [(each["rule"], each["fired_at"]) for each in answer["in_fact"]] == [("accuracy-drop", fired.isoformat())]
    in_fact = {each["rule"]: each["alarms_in_fact"] for each in answer["rules"]}
    assert in_fact == {"accuracy-drop": 1, "latency": 0, "class-error": 0}


def test_a_backtest_reads_as_a_table_and_a_line_per_rule(platform: Command, fired: datetime) -> None:
    said = platform("alerts", "backtest", "--since", "1h").out
    assert "would have fired" in said
    assert f"{fired:%F %H:%M}" in said
    assert "accuracy-drop: 1 alarm (" in said
    assert "in fact 1; " in said
    assert "evaluated, 60 labels read" in said
    assert "latency: 0 alarms (0.0 per 90 days), in fact 0; " in said


def test_a_backtest_takes_other_rules(platform: Command, fired: datetime, tmp_path: Path) -> None:
    lax = (tmp_path / "alerts.yaml").read_text(encoding="utf-8").replace("above: 0.5 points", "above: 90 points")
    (tmp_path / "lax.yaml").write_text(lax, encoding="utf-8")
    answer = platform("alerts", "backtest", "--rules", "lax.yaml", "--since", "1h", "--json").json
    assert [each["rule"] for each in answer["in_fact"]] == ["accuracy-drop"]
    assert "accuracy-drop" not in {each["rule"] for each in answer["alarms"]}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--since", "soon"], 2, ""),
        (["--since", "0s"], 3, "--since 30d"),
        (["--rules", "nowhere.yaml"], 3, "nowhere.yaml"),
        ([], 4, "platform train"),
    ],
)
def test_a_backtest_that_cannot_be_says_why(
    platform: Command, store: AppContext, words: list[str], code: int, message: str
) -> None:
    said = platform("alerts", "backtest", *words)
    assert said.code == code
    assert message in said.err
