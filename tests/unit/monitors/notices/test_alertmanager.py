import json

from monitors.notices.alertmanager import alertmanager_payload, fingerprint
from tests.support.notice_examples import group, notice

# The keys of Alertmanager's webhook, version 4: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
KEYS = {
    "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
    "commonAnnotations", "externalURL", "alerts",
}  # fmt: skip
ALERT_KEYS = {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}


def test_the_body_has_the_keys_and_types_of_version_4() -> None:
    body = alertmanager_payload(notice(pictures=1), "on-call")
    assert body.keys() == KEYS
    [alert] = body["alerts"]
    assert alert.keys() == ALERT_KEYS
    assert (body["version"], body["receiver"], body["status"]) == ("4", "on-call", "firing")
    assert body["groupKey"] == '{}:{alertname="a-rule", model="digits", version="3"}'
    texts = [
        body["groupLabels"],
        body["commonLabels"],
        body["commonAnnotations"],
        alert["labels"],
        alert["annotations"],
    ]
    assert all(isinstance(value, str) for each in texts for value in each.values())
    json.dumps(body, allow_nan=False)


def test_an_alert_says_what_when_and_where_to_read_on() -> None:
    [alert] = alertmanager_payload(notice(pictures=1), "on-call")["alerts"]
    assert alert["labels"] == {
        "alertname": "a-rule",
        "rule": "a-rule",
        "metric": "accuracy_drop",
        "model": "digits",
        "version": "3",
        "severity": "critical",
    }
    assert alert["annotations"] == {
        "summary": "firing: a-rule · digits v3",
        "description": "Accuracy fell.",
        "runbook_url": "https://wiki.example/accuracy",
        "confused": "3 read as 5, 14 of 20 errors",
    }
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-03-01T12:00:00Z", "0001-01-01T00:00:00Z")
    assert alert["generatorURL"] == "https://host/e/1?a=1&b=2"


def test_a_resolved_alert_keeps_its_identity_and_gets_an_end() -> None:
    fired, over = (alertmanager_payload(group("3", kind), "r")["alerts"][0] for kind in ("firing", "resolved"))
    assert (over["status"], over["endsAt"]) == ("resolved", "2026-03-01T12:00:00Z")
    assert over["fingerprint"] == fired["fingerprint"]


def test_classes_are_labels_of_one_group_and_no_two_share_an_identity() -> None:
    body = alertmanager_payload(group("358"), "r")
    assert [alert["labels"]["class"] for alert in body["alerts"]] == ["3", "5", "8"]
    assert len({alert["fingerprint"] for alert in body["alerts"]}) == 3
    assert "class" not in body["commonLabels"]
    assert "description" not in body["commonAnnotations"]
    assert body["groupKey"] == alertmanager_payload(group("3"), "r")["groupKey"]


def test_a_group_is_resolved_when_its_last_alert_is() -> None:
    body = alertmanager_payload(group("3", "resolved", others="58"), "r")
    assert body["status"] == "firing"
    assert [alert["status"] for alert in body["alerts"]] == ["resolved", "firing", "firing"]
    assert alertmanager_payload(group("3", "resolved"), "r")["status"] == "resolved"


def test_the_fingerprint_is_prometheus_own() -> None:
    published = {"first-label": "first-label-value", "second-label": "second-label-value"}
    assert int(fingerprint(published), 16) == 3195800080984914717  # prometheus/common, model/signature_test.go
    assert fingerprint({}) == "cbf29ce484222325"  # the offset of FNV-1a with 64 bits
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a1": ""})
    assert len(fingerprint({"name": "é"})) == 16
