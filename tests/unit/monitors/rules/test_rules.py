from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from monitors.errors import RulesError
from monitors.rules.alerts_config import AlertsConfig, json_schema, load_rules, parse_rules
from monitors.rules.channel_config import CHANNEL_TYPES
from monitors.rules.metric_catalog import METRICS
from tests.support.monitor_examples import rule as a_rule

SHIPPED = Path(__file__).parents[4] / "alerts.yaml"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HEAD = "version: 1\nmodel: digits\nchannels:\n  team: {type: slack, url: '${HOOK:-}'}\nrules:\n"
RULE = "  - {name: a, metric: accuracy_drop, above: 0.5 points, window: 1d, min_samples: 50}\n"


def faults(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "alerts.yaml", env or {})
    return str(caught.value).splitlines()


def rule_line(**changes: str) -> str:
    keys = {
        "name": "a",
        "metric": "accuracy_drop",
        "above": "0.5 points",
        "window": "1d",
        "min_samples": "50",
    }
    return "  - {" + ", ".join(f"{key}: {value}" for key, value in {**keys, **changes}.items()) + "}\n"


def test_the_shipped_file_holds_the_three_rules_of_the_mission_and_warnings_that_start_nothing() -> None:
    config = load_rules(SHIPPED, {})
    found = {rule.metric: (rule.above, rule.action) for rule in config.rules}
    assert found == {
        "accuracy_drop": (0.005, "retrain"),
        "latency_ratio": (2.0, "tune-serving"),
        "class_error": (0.1, "label-audit"),
        "expected_drop": (0.02, "none"),
        "prediction_drift": (0.2, "none"),
        "class_volume": (None, "none"),
        "input_drift": (0.3, "none"),
    }
    assert not any(channel.is_configured for channel in config.channels.values())


def test_the_shipped_file_takes_its_channels_from_the_environment() -> None:
    env = {
        "PLATFORM_SLACK_WEBHOOK_URL": "http://127.0.0.1:9/slack",
        "PLATFORM_SMTP_HOST": "localhost",
        "PLATFORM_SMTP_PORT": "2525",
        "PLATFORM_SMTP_STARTTLS": "false",
        "PLATFORM_ALERT_EMAIL_FROM": "platform@example.org",
        "PLATFORM_ALERT_EMAIL_TO": "a@example.org,b@example.org",
        "PLATFORM_WEBHOOK_URL": "https://example.org/hook",
        "PLATFORM_WEBHOOK_SECRET": SECRET,
    }
    config = load_rules(SHIPPED, env)
    assert all(channel.is_configured for channel in config.channels.values())
    assert "127.0.0.1:9" not in repr(config)
    assert SECRET not in repr(config)


def test_defaults_fill_what_a_short_rule_leaves_out() -> None:
    config = parse_rules(HEAD + RULE, "alerts.yaml", {})
    rule = config.rules[0]
    assert (rule.confidence, rule.for_, rule.severity, rule.action) == (0.99, timedelta(0), "warning", "none")
    assert rule.sources == ("audit", "delayed")
    assert config.interval(rule) == timedelta(minutes=5)
    assert config.retraining.cooldown == timedelta(hours=6)


def test_a_rule_may_have_its_own_interval() -> None:
    config = parse_rules(HEAD + rule_line(every="1m", **{"for": "10m"}), "alerts.yaml", {})
    assert config.interval(config.rules[0]) == timedelta(minutes=1)
    assert config.rules[0].for_ == timedelta(minutes=10)


def test_corrections_estimate_only_where_written() -> None:
    config = parse_rules(HEAD + rule_line(sources="[audit, correction]"), "alerts.yaml", {})
    assert config.rules[0].sources == ("audit", "correction")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"action": "retrian"},
            "action: 'retrian' is not allowed; allowed: label-audit, none, retrain, tune-serving",
        ),
        ({"severity": "loud"}, "severity: 'loud' is not allowed; allowed: critical, info, warning"),
        (
            {"metric": "acuracy"},
            "metric: 'acuracy' is not allowed; allowed: " + ", ".join(sorted(METRICS)),
        ),
        ({"sources": "[users]"}, "sources[0]: 'users' is not allowed; allowed: audit, correction, delayed"),
        (
            {"above": "2 x"},
            "above: '2 x' does not fit metric accuracy_drop; write for example \"0.5 points\"",
        ),
        ({"above": "0.5"}, "above: 0.5 does not fit metric accuracy_drop"),
        ({"window": "1 day"}, "window: '1 day' is not a duration; write a whole number and a unit"),
        ({"window": "0s"}, "window: '0s' must be longer than zero"),
        ({"min_samples": "0"}, "min_samples: 0 does not fit: Input should be greater than or equal to 1"),
        ({"min_samples": "yes"}, "min_samples: True is not a number; write digits"),
        ({"confidence": "99"}, "confidence: 99 does not fit: Input should be less than 1"),
        ({"confidence": ".nan"}, "confidence: nan does not fit"),
        ({"name": "My Rule"}, "name: 'My Rule' does not fit"),
        ({"runbook": "wiki"}, "runbook: 'wiki' does not fit"),
        ({"notify": "[nobody]"}, "notify[0]: 'nobody' is not a channel; defined: team"),
        (
            {"widnow": "1d"},
            "widnow: unknown key; allowed: above, action, below, block, by, clear, column, confidence, escalate",
        ),
        ({"for_": "1s"}, "for_: unknown key; allowed: above"),
    ],
)
def test_a_wrong_value_gives_file_line_key_and_what_is_allowed(changes: dict[str, str], fault: str) -> None:
    [found] = faults(HEAD + RULE.replace("name: a,", "name: b,") + rule_line(**changes))
    assert found.startswith(f"alerts.yaml:7: rules[1].{fault}")


def test_every_fault_is_reported_in_the_order_of_lines() -> None:
    text = (
        "version: 2\nmodle: digits\nschedule: {every: soon}\nretraining: {cap: 3}\n"
        "channels:\n  a: {type: pager}\n  b: {url: x}\n  c: {type: slack}\n"
        "rules:\n  - name: a\n    metric: class_error\n    above: 10 %\n  - 7\n"
    )
    found = faults(text)
    assert [line.split(":")[1:3] for line in found] == [
        ["1", " version"],
        ["1", " model"],
        ["2", " modle"],
        ["3", " schedule.every"],
        ["4", " retraining.cap"],
        ["6", " channels.a.type"],
        ["7", " channels.b.type"],
        ["8", " channels.c.url"],
        ["10", " rules[0].window"],
        ["10", " rules[0].min_samples"],
        ["13", " rules[1]"],
    ]
    assert found[4].endswith(
        "unknown key; allowed: approval_timeout, block, breaker, cooldown, daily_cap, dry_run, group_by, min_feedback, "
        "promote, quotas, shadow_inconclusive"
    )
    assert found[5].endswith("'pager' is not allowed; allowed: " + ", ".join(sorted(CHANNEL_TYPES)))


def test_an_unknown_key_of_a_channel_lists_the_keys_of_its_type() -> None:
    text = HEAD.replace("url: '${HOOK:-}'", "url: '', chanel: x") + RULE
    assert faults(text) == ["alerts.yaml:4: channels.team.chanel: unknown key; allowed: type, url"]


def test_two_rules_of_one_name_are_refused() -> None:
    assert faults(HEAD + RULE + RULE) == ["alerts.yaml:7: rules[1].name: 'a' names two rules; give each its own name"]


def test_no_rules_at_all_are_refused() -> None:
    assert "rules: the value does not fit" in faults(HEAD.replace("rules:\n", "rules: []\n"))[0]


def test_a_value_from_the_environment_is_never_printed() -> None:
    env = {"HOOK": "not-an-address-hunter2", "MANY": "hunter2"}
    found = faults(HEAD + rule_line(min_samples='"${MANY}"', action='"${MANY}"'), env)
    assert len(found) == 3
    assert "hunter2" not in "".join(found)
    assert "rules[0].action: the value of ${MANY} is not allowed; allowed: label-audit" in "".join(found)


def test_a_secret_written_into_the_file_is_not_printed_either() -> None:
    assert "hunter2" not in faults(HEAD.replace("'${HOOK:-}'", "hunter2") + RULE)[0]


def test_a_missing_variable_is_one_fault_not_two() -> None:
    webhook = "{type: webhook, url: 'https://x.y', secret: '${NOPE}'}"
    [fault] = faults(HEAD.replace("{type: slack, url: '${HOOK:-}'}", webhook) + RULE)
    assert fault.startswith("alerts.yaml:4: channels.team.secret: environment variable NOPE is not set; set it")


@pytest.mark.parametrize("text", ["", "[]", "just text", "a: [", "7"])
def test_what_is_no_set_of_keys_is_one_clear_fault(text: str) -> None:
    [fault] = faults(text)
    assert fault.startswith("alerts.yaml:1: ")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="No such file or directory"):
        load_rules(tmp_path / "none.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(RulesError, match="byte 7 is not UTF-8"):
        load_rules(tmp_path / "latin.yaml", {})


def test_a_config_cannot_be_changed() -> None:
    config = parse_rules(HEAD + RULE, "alerts.yaml", {})
    with pytest.raises(ValueError, match="frozen"):
        config.rules[0].__setattr__("above", 0.5)
    assert isinstance(config, AlertsConfig)


def schema_faults(written: object) -> list[str]:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return [fault.message for fault in jsonschema.Draft202012Validator(schema).iter_errors(written)]


def test_the_schema_for_editors_accepts_the_shipped_file_as_written() -> None:
    assert schema_faults(yaml.safe_load(SHIPPED.read_text())) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("action", "retrian"),
        ("window", "1 day"),
        ("above", 0.5),
        ("widnow", "1d"),
        ("min_samples", 0),
        ("name", "A B"),
    ],
)
def test_the_schema_for_editors_marks_what_parsing_would_refuse(key: str, value: object) -> None:
    written: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    written["rules"][0][key] = value
    assert len(schema_faults(written)) == 1


def test_a_budget_and_a_clear_level_are_read() -> None:
    found = a_rule(false_alarms="2 per 30d", clear="0.1 points", keep_firing="1h")
    assert found.false_alarms is not None
    assert found.false_alarms.per_second == pytest.approx(2 / (30 * 86_400))
    assert (found.false_alarms.text, found.clear_level, a_rule().clear_level) == ("2 per 30d", 0.001, 0.005)


@pytest.mark.parametrize(
    ("metric", "written", "fault"),
    [
        ("accuracy_drop", {"false_alarms": "1 a year"}, "write for example 1 per 90d"),
        ("accuracy_drop", {"false_alarms": "0 per 90d"}, "write for example 1 per 90d"),
        ("accuracy_drop", {"false_alarms": "1 per 0d"}, "over no time"),
        ("volume", {"false_alarms": "1 per 90d"}, "is counted, not estimated; leave it out"),
        ("accuracy_drop", {"clear": "0.6 points"}, "above the threshold"),
        ("accuracy_drop", {"clear": "2 x"}, "does not fit metric"),
    ],
)
def test_a_budget_or_clear_level_that_cannot_be_is_refused(metric: str, written: dict[str, str], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        a_rule(metric, **written)


def test_an_escalation_or_an_inhibition_must_name_what_is_there() -> None:
    text = HEAD + RULE.replace("}", ", escalate: {after: 1h, notify: [boss]}, inhibited_by: [b, a]}")
    found = [each.split(": ", 2)[1:] for each in faults(text)]
    assert found == [
        ["rules[0].escalate.notify[0]", "'boss' is not a channel; defined: team"],
        ["rules[0].inhibited_by[0]", "'b' is not another rule; there are: none"],
        ["rules[0].inhibited_by[1]", "'a' is not another rule; there are: none"],
    ]


def test_a_rule_has_exactly_one_threshold() -> None:
    [missing] = faults(HEAD + RULE.replace("above: 0.5 points, ", ""))
    assert missing == (
        "alerts.yaml:6: rules[0]: the value needs a threshold; write `above`, such as "
        '"0.5 points" (or "0.5 %", both mean percentage points), and only one'
    )


def test_a_threshold_on_the_side_where_the_metric_is_well_is_refused() -> None:
    [fault] = faults(HEAD + RULE.replace("above:", "below:"))
    said = "'0.5 points' is where accuracy_drop is well; write `above`, beyond which it is not"
    assert fault == f"alerts.yaml:6: rules[0].below: {said}"


@pytest.mark.parametrize(
    ("metric", "action"),
    [("accuracy_drop", "label-audit"), ("class_error", "tune-serving"), ("latency_ratio", "label-audit")],
)
def test_an_action_that_could_do_nothing_for_a_metric_is_refused(metric: str, action: str) -> None:
    with pytest.raises(ValidationError, match=f"is not possible .does not fit metric {metric}.; allowed: "):
        a_rule(metric, action=action)


def test_a_low_metric_is_broken_below_its_threshold_and_clear_above_it() -> None:
    found = a_rule("macro_f1", above=None, below="98 %", clear="99 %")
    assert (found.threshold, found.clear_level) == (0.98, 0.99)
    assert found.is_beyond(0.97, found.threshold)
    assert not found.is_beyond(0.98, found.threshold)
    with pytest.raises(ValidationError, match="is below the threshold, so an alert would end while its rule is broken"):
        a_rule("macro_f1", above=None, below="98 %", clear="97 %")
    with pytest.raises(ValidationError, match="is where macro_f1 is well; write `below`"):
        a_rule("macro_f1", above="98 %")


@pytest.mark.parametrize(
    ("metric", "option"),
    [
        ("accuracy_drop", {"by": "client"}),
        ("latency_ratio", {"slice": {"scanner": "flatbed"}}),
        ("class_error", {"quantile": 0.5}),
        ("macro_f1", {"over": "answers"}),
        ("accuracy_drop", {"params": {"a": 1}}),
        ("group_gap", {"by": "client", "value": "1"}),
    ],
)
def test_an_option_that_means_nothing_for_the_metric_is_refused(metric: str, option: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=f"means nothing for metric {metric}; leave it out"):
        a_rule(metric, **option)


def test_only_what_is_counted_goes_without_min_samples() -> None:
    [fault] = faults(HEAD + RULE.replace(", min_samples: 50", ""))
    assert fault == "alerts.yaml:6: rules[0].min_samples: required key is missing"
    volume = "  - {name: v, metric: volume, below: 100 answers, window: 1h}\n"
    assert parse_rules(HEAD + volume, "alerts.yaml", {}).rules[0].threshold == 100


def test_a_group_rule_must_say_by_which_tag() -> None:
    with pytest.raises(ValidationError, match="write `by` and the tag that names them"):
        a_rule("group_gap", above="3 points")
    with pytest.raises(ValidationError, match="should match pattern"):
        a_rule("group_gap", above="3 points", by="Writer Group")


def test_a_wait_cannot_be_longer_than_the_window_it_is_looked_for_in() -> None:
    with pytest.raises(ValidationError, match="is not longer than the threshold"):
        a_rule("label_lag", above="1d", window="24h")


def test_a_budget_over_looks_sets_the_confidence_of_each() -> None:
    written = "  - {name: l, metric: latency_ratio, above: 2 x, window: 15m, min_samples: 9, false_alarms: 2 per 10d"
    quick, slow = parse_rules(
        HEAD + written + ", every: 1m}\n" + written.replace("name: l", "name: m") + "}\n", "", {}
    ).rules
    assert quick.confidence == pytest.approx(1 - 2 / (10 * 24 * 60), abs=1e-12)
    assert slow.confidence == pytest.approx(1 - 2 / (10 * 24 * 12), abs=1e-12)
    [fault] = faults(HEAD + written.replace("10d", "1h") + ", every: 30m}\n")
    assert fault.startswith(
        "alerts.yaml:5: rules: the value gives rule 'l' a budget of 2 per 1h, which its looks every 30m"
    )


def test_detectors_keep_the_confidence_that_was_written() -> None:
    written = RULE.replace("}", ", false_alarms: 1 per 90d}")
    assert parse_rules(HEAD + written, "alerts.yaml", {}).rules[0].confidence == 0.99


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ({"metric": "volume", "below": "100 answers", "min_samples": None}, True),
        ({"metric": "macro_f1", "below": "98 %"}, True),
        ({"metric": "macro_f1", "below": "98 %", "min_samples": None}, False),
        ({"metric": "macro_f1", "below": "98 %", "above": "99 %"}, False),
        ({"metric": "python:a.b:c", "above": 0.3, "over": "answers"}, True),
        ({"metric": "python:a.b", "above": 0.3}, False),
        ({"metric": "evidently:F1Score", "below": 0.9, "params": {"k": 1}, "slice": {"scanner": "flatbed"}}, True),
        ({"metric": "group_gap", "above": "3 points", "by": "writer_group"}, True),
        ({"metric": "label_lag", "above": "2d", "quantile": 0.5}, True),
        ({"metric": "label_lag", "above": "2 days"}, False),
    ],
)
def test_the_schema_knows_the_further_metrics(written: dict[str, object], right: bool) -> None:
    rule = {"name": "a", "window": "7d", "min_samples": 50, **written}
    plain = {key: value for key, value in rule.items() if value is not None}
    assert (schema_faults({"version": 1, "model": "digits", "rules": [plain]}) == []) == right


def test_every_rule_that_the_shipped_file_shows_as_a_comment_can_be_written() -> None:
    comments = SHIPPED.read_text().split("  # Further rules by name", 1)[1].splitlines()
    written = [line.replace("  # ", "  ", 1) for line in comments if line.startswith(("  # - ", "  #   "))]
    text = HEAD + "\n".join(written) + "\n"
    found = {rule.metric for rule in parse_rules(text, "alerts.yaml", {}).rules}
    assert schema_faults(yaml.safe_load(text)) == []
    own = {"python:our_metrics.reading:cost_per_letter", "evidently:F1Score"}
    shipped = {rule.metric for rule in load_rules(SHIPPED, {}).rules}
    assert found == {*METRICS, *own} - shipped | {"accuracy_drop"}


@pytest.mark.parametrize("metric", ["expected_drop", "prediction_drift", "input_drift"])
@pytest.mark.parametrize("action", ["retrain", "label-audit", "tune-serving"])
def test_an_early_warning_starts_nothing(metric: str, action: str) -> None:
    with pytest.raises(ValidationError, match=r"an early warning, no proof.*allowed: none"):
        a_rule(metric, action=action)


def test_a_look_that_would_take_too_many_permutations_to_prove_is_refused() -> None:
    line = rule_line(metric="prediction_drift", above="15 %", false_alarms="1 per 90d")
    [fault] = faults(HEAD + line)
    assert "leaves a look every 5m a chance of 4e-05: too many permutations to prove; look less often" in fault
    [rule] = parse_rules(HEAD + line.replace("}", ", every: 1h}"), "alerts.yaml", {}).rules
    assert 1 - rule.confidence == pytest.approx(1 / (24 * 90))
