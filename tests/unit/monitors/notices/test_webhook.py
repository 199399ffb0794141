import json

from monitors.notices.webhook import webhook_payload
from tests.support.notice_examples import group, notice


def test_the_webhook_body_holds_every_number() -> None:
    body = webhook_payload(notice(key="7", pictures=1))
    assert (body["type"], body["timestamp"]) == ("alert.firing", "2026-03-01T12:00:00+00:00")
    data = body["data"]
    [alert] = data["alerts"]
    assert (alert["value"], alert["low"], alert["high"], alert["baseline"], alert["threshold"], alert["n"]) == (
        0.08, 0.04, 0.12, 0.99, 0.005, 200,
    )  # fmt: skip
    assert (alert["alert_id"], alert["key"], alert["state"], alert["sentence"]) == (
        "a1", "7", "firing", "Accuracy fell.",
    )  # fmt: skip
    assert (data["rule"], data["metric"], data["model"], data["version"]) == ("a-rule", "accuracy_drop", "digits", 3)
    assert (data["idempotency_key"], data["severity"], data["action"]) == ("a1-firing-1", "critical", "retrain")
    assert data["confused"] == ["3 read as 5, 14 of 20 errors"]
    assert data["worst_errors"] == [{"prediction_id": "p0", "caption": "3 read as 5, 98 %", "url": "https://host/i/0"}]
    json.dumps(body, allow_nan=False)


def test_several_alerts_are_in_one_body() -> None:
    data = webhook_payload(group("35", "resolved"))["data"]
    assert [alert["alert_id"] for alert in data["alerts"]] == ["a3", "a5"]
    assert data["title"] == "resolved: a-rule (classes 3, 5) · digits v3"
