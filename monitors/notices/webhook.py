"""A notice as JSON for any other program, shaped after Standard Webhooks; it signs and sends nothing."""

from datetime import UTC
from typing import Any

from monitors.notices.notice import Notice, Subject
from monitors.rules.formatting import single_line


def webhook_payload(notice: Notice) -> dict[str, Any]:
    """type, timestamp and data; `data.alerts` holds every alert of the notice with its numbers."""
    alert, rule = notice.first, notice.rule
    return {
        "type": f"alert.{notice.kind}",
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "data": {
            "idempotency_key": notice.idempotency_key,
            "title": notice.title,
            "rule": alert.rule,
            "metric": rule.metric,
            "model": alert.model,
            "version": alert.version,
            "severity": alert.severity,
            "action": rule.action,
            "alerts": [_alert(subject) for subject in notice.subjects],
            "confused": list(notice.top_confusions),
            "worst_errors": [
                {"prediction_id": each.prediction_id, "caption": each.caption, "url": each.url or None}
                for each in notice.thumbnails
            ],
            "links": notice.all_links,
        },
    }


def _alert(subject: Subject) -> dict[str, Any]:
    alert = subject.alert
    return {
        "alert_id": alert.id,
        "key": alert.key,
        "state": alert.state,
        "sentence": single_line(subject.sentence),
        "value": alert.value,
        "low": alert.low,
        "high": alert.high,
        "baseline": alert.baseline,
        "threshold": alert.threshold,
        "n": alert.n,
        "opened_at": alert.opened_at.astimezone(UTC).isoformat(),
    }
