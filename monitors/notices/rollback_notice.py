"""The notice about a version that was sent back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitors.notices.alertmanager import single_alert_payload
from monitors.notices.notice import StandaloneNotice, Thumbnail
from monitors.notices.webhook import webhook_body
from monitors.rules.alerts_config import Severity

KIND: Final = "rolled-back"
ALERTNAME: Final = "model-rolled-back"


@dataclass(frozen=True)
class RollbackNotice(StandaloneNotice):
    """One version sent back to the one before while on probation; one idempotency key is one rollback."""

    model: str
    version: int
    restored_version: int
    reason: str
    at: datetime
    promoted_at: datetime
    facts: dict[str, str]
    links: Mapping[str, str]
    idempotency_key: str
    severity: Severity = "warning"
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def title(self) -> str:
        return f"rolled back: {self.model} v{self.version} · v{self.restored_version} serves again"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        return f"Nothing to do now: version {self.restored_version} serves again. By day, find out why."

    @property
    def sentences(self) -> list[str]:
        """Why, and what that means."""
        return [
            self.reason,
            f"Version {self.version} is in quarantine: nothing promotes it again before somebody lifts that.",
        ]

    @property
    def reminder(self) -> str:
        """It is said once: nothing is left to do at once."""
        return ""


def rollback_webhook(notice: RollbackNotice) -> dict[str, Any]:
    """The body for the signed webhook."""
    details = {
        "model": notice.model,
        "version": notice.version,
        "restored": notice.restored_version,
        "severity": notice.severity,
        "reason": notice.reason,
        "promoted_at": notice.promoted_at.astimezone(UTC).isoformat(),
        "facts": notice.facts,
    }
    return webhook_body(f"model.{notice.kind}", notice, details)


def rollback_alert(notice: RollbackNotice, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {
        "alertname": ALERTNAME,
        "model": notice.model,
        "severity": notice.severity,
        "version": str(notice.version),
    }
    link = notice.links.get("Model", "")
    return single_alert_payload(labels, ("alertname", "model", "version"), notice, link, receiver)
