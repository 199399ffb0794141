"""What people and machines are told when a server forgets or refuses predictions; no store, and it sends nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitors.alertmanager import lone_alert
from monitors.notify import Thumbnail
from monitors.rules import Severity

KIND: Final = "recording-lost"


@dataclass(frozen=True)
class Loss:
    """One server's predictions that nobody will record: answered and forgotten (`dropped`), or refused with 503."""

    model: str
    instance: str
    dropped: int
    refused: int
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def severity(self) -> Severity:
        """Answers without a record are worse than answers not given."""
        return "critical" if self.dropped else "warning"

    @property
    def title(self) -> str:
        lost = f"{self.dropped:,} predictions forgotten" if self.dropped else f"{self.refused:,} predictions refused"
        return f"recording: {lost} · {self.model}"

    @property
    def sentences(self) -> list[str]:
        """What happened, and what to do."""
        said = []
        if self.dropped:
            said.append(f"{self.dropped:,} predictions were answered and forgotten: the spool was full.")
        if self.refused:
            said.append(f"{self.refused:,} predictions were refused with 503: they could not be kept.")
        return [*said, "Look at the database and the disk; PLATFORM_SPOOL_MB sets how much may wait."]

    @property
    def facts(self) -> dict[str, str]:
        return {"Server": self.instance, "Forgotten": f"{self.dropped:,}", "Refused": f"{self.refused:,}"}

    @property
    def reminder(self) -> str:
        """It is said again when ten times as many are lost."""
        return ""

    @property
    def all_links(self) -> dict[str, str]:
        return dict(self.links)

    @property
    def threads(self) -> tuple[str, ...]:
        return ()


def loss_webhook(notice: Loss) -> dict[str, Any]:
    """The body for the signed webhook: type, timestamp and data."""
    return {
        "type": "recording.lost",
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "data": {
            "idempotency_key": notice.idempotency_key,
            "title": notice.title,
            "model": notice.model,
            "server": notice.instance,
            "severity": notice.severity,
            "dropped": notice.dropped,
            "refused": notice.refused,
            "links": notice.all_links,
        },
    }


def loss_alert(notice: Loss, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {
        "alertname": KIND,
        "model": notice.model,
        "server": notice.instance,
        "severity": notice.severity,
    }
    link = notice.links.get("Dashboard", "")
    return lone_alert(labels, ("alertname", "model", "server"), notice, link, receiver)
