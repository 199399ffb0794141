"""The notice that an alert has ended without having recovered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitors.alerts import Alert
from monitors.notices.notice import MAX_NAMED, Thumbnail
from monitors.notices.trend import Trend
from monitors.notices.webhook import webhook_body
from monitors.rules import quantities
from monitors.rules.alerts_config import Severity

KIND: Final = "superseded"
MAX_KEYS_LENGTH: Final = 60
"""Characters of a list of keys in a title."""


@dataclass(frozen=True)
class SupersededNotice:
    """Alerts of one rule and version that ended for the same reason: another version serves, or the rule is gone."""

    alerts: tuple[Alert, ...]
    reason: str
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def first(self) -> Alert:
        """The alert that stands for what all of them share: rule, model, version."""
        return self.alerts[0]

    @property
    def severity(self) -> Severity:
        return self.first.severity

    @property
    def title(self) -> str:
        alert, keys = self.first, [one.key for one in self.alerts if one.key]
        about = f" ({quantities.join_names_within(keys, MAX_NAMED, MAX_KEYS_LENGTH)})" if keys else ""
        return f"ended: {alert.rule}{about} · {alert.model} v{alert.version}"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        return "Nothing to do: it has ended."

    @property
    def sentences(self) -> list[str]:
        """Why, and what that means."""
        return [f"{self.reason[:1].upper()}{self.reason[1:]}.", "Nothing was found to be right again."]

    @property
    def facts(self) -> dict[str, str]:
        alert = self.first
        fired = f"{alert.fired_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if alert.fired_at else ""
        return {"Version": f"{alert.model} v{alert.version}", "Severity": alert.severity, "Fired": fired}

    @property
    def reminder(self) -> str:
        """It is said once."""
        return ""

    @property
    def all_links(self) -> dict[str, str]:
        return dict(self.links)

    @property
    def trend(self) -> Trend | None:
        return None

    @property
    def threads(self) -> tuple[str, ...]:
        return tuple(alert.id for alert in self.alerts)


def superseded_webhook(notice: SupersededNotice) -> dict[str, Any]:
    """The body for the signed webhook."""
    alert = notice.first
    details = {
        "rule": alert.rule,
        "model": alert.model,
        "version": alert.version,
        "severity": alert.severity,
        "reason": notice.reason,
        "alerts": [{"alert_id": ended.id, "key": ended.key, "state": ended.state} for ended in notice.alerts],
    }
    return webhook_body(f"alert.{notice.kind}", notice, details)
