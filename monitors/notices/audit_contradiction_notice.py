"""The notice that the audit log contradicts its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from monitors.notices.alertmanager import single_alert_payload
from monitors.notices.notice import StandaloneNotice, Thumbnail
from monitors.notices.webhook import webhook_body
from monitors.rules.alerts_config import Severity

KIND: Final = "audit-contradiction"
MAX_CONTRADICTIONS: Final = 5
REMEDY: Final = (
    "Rows were changed by other means than the platform, or a backup was restored. No anchors are written until that "
    "is settled: `platform audit verify` names all; `platform audit anchor --accept REASON` begins anew."
)


@dataclass(frozen=True)
class AuditContradictionNotice(StandaloneNotice):
    """Contradictions between the audit log and its anchors; said once a day while they last."""

    model: str
    contradictions: tuple[str, ...]
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    severity: Severity = "critical"
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def title(self) -> str:
        return f"audit log contradicts its anchors · {self.model}"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        return "Run `platform audit verify` now and keep what it names: somebody may have changed the records."

    @property
    def sentences(self) -> list[str]:
        """What contradicts, and what to do."""
        more = len(self.contradictions) - MAX_CONTRADICTIONS
        return [
            *(f"{fault}." for fault in self.contradictions[:MAX_CONTRADICTIONS]),
            *([f"And {more} more."] if more > 0 else []),
            REMEDY,
        ]

    @property
    def facts(self) -> dict[str, str]:
        return {"Contradictions": f"{len(self.contradictions):,}"}

    @property
    def reminder(self) -> str:
        return "It is said again each day until it is settled."


def audit_contradiction_webhook(notice: AuditContradictionNotice) -> dict[str, Any]:
    """The body for the signed webhook."""
    details = {
        "model": notice.model,
        "severity": notice.severity,
        "faults": list(notice.contradictions[:100]),
    }
    return webhook_body("audit.contradiction", notice, details)


def audit_contradiction_alert(notice: AuditContradictionNotice, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {"alertname": KIND, "model": notice.model, "severity": notice.severity}
    return single_alert_payload(labels, ("alertname", "model"), notice, notice.links.get("Dashboard", ""), receiver)
