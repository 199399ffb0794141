"""A notice as JSON for any other program, shaped after Standard Webhooks: type, timestamp and data."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from monitors.notices.notice import Notice, NoticeView, Subject
from monitors.rules.quantities import single_line


def webhook_body(event_type: str, notice: NoticeView, details: Mapping[str, object]) -> dict[str, Any]:
    """The body for the signed webhook about any notice; `details` are what its kind adds to key, title and links."""
    return {
        "type": event_type,
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "data": {
            "idempotency_key": notice.idempotency_key,
            "title": notice.title,
            "instruction": single_line(notice.instruction),
            **details,
            "links": notice.all_links,
        },
    }


def webhook_payload(notice: Notice) -> dict[str, Any]:
    """The body of a notice about alerts; `data.alerts` holds every alert of the notice with its numbers."""
    alert, rule = notice.first, notice.rule
    details = {
        "rule": alert.rule,
        "metric": rule.metric,
        "model": alert.model,
        "version": alert.version,
        "severity": alert.severity,
        "action": rule.action,
        "alerts": [_alert(subject) for subject in notice.subjects],
        "confused": list(notice.top_confusions),
        "worst_errors": [
            {
                "prediction_id": thumbnail.prediction_id,
                "caption": thumbnail.caption,
                "url": thumbnail.url or None,
                **({"row": thumbnail.shown_cells} if thumbnail.cells else {}),
            }
            for thumbnail in notice.thumbnails
        ],
    }
    return webhook_body(f"alert.{notice.kind}", notice, details)


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
