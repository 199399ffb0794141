"""What people and machines are told when the audit log contradicts what was written down of it; it sends nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitors.notices.alertmanager import lone_alert
from monitors.notices.notice import SingleNotice, Thumbnail
from monitors.rules.alerts_config import Severity

KIND: Final = "audit-contradiction"
MOST_FAULTS: Final = 5
REMEDY: Final = (
    "Rows were changed by other means than the platform, or a backup was restored. No anchors are written until that "
    "is settled: `platform audit verify` names all; `platform audit anchor --accept REASON` begins anew."
)


@dataclass(frozen=True)
class Tampering(SingleNotice):
    """Contradictions between the audit log and its anchors; said once a day while they last."""

    model: str
    faults: tuple[str, ...]
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
    def sentences(self) -> list[str]:
        """What contradicts, and what to do."""
        more = len(self.faults) - MOST_FAULTS
        return [
            *(f"{fault}." for fault in self.faults[:MOST_FAULTS]),
            *([f"And {more} more."] if more > 0 else []),
            REMEDY,
        ]

    @property
    def facts(self) -> dict[str, str]:
        return {"Contradictions": f"{len(self.faults):,}"}

    @property
    def reminder(self) -> str:
        return "It is said again each day until it is settled."


def tampering_webhook(notice: Tampering) -> dict[str, Any]:
    """The body for the signed webhook: type, timestamp and data."""
    return {
        "type": "audit.contradiction",
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "data": {
            "idempotency_key": notice.idempotency_key,
            "title": notice.title,
            "model": notice.model,
            "severity": notice.severity,
            "faults": list(notice.faults[:100]),
            "links": notice.all_links,
        },
    }


def tampering_alert(notice: Tampering, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {"alertname": KIND, "model": notice.model, "severity": notice.severity}
    return lone_alert(labels, ("alertname", "model"), notice, notice.links.get("Dashboard", ""), receiver)
