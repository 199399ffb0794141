"""The notice about predictions that are not in the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from monitors.notices.alertmanager import single_alert_payload
from monitors.notices.notice import StandaloneNotice, Thumbnail
from monitors.notices.webhook import webhook_body
from monitors.rules.alerts_config import Severity

KIND: Final = "recording-lost"


@dataclass(frozen=True)
class RecordingLossNotice(StandaloneNotice):
    """One server's predictions that nobody will record: answered and forgotten (`dropped`), or refused with 503.

    `set_aside` ones were answered and wait for a person; `replaced` names the file of the database that another one
    took the place of, where that is why.
    """

    model: str
    instance: str
    dropped: int
    refused: int
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()
    set_aside: int = 0
    replaced: str = ""

    @property
    def severity(self) -> Severity:
        """Answers without a record are worse than answers not given."""
        return "critical" if self.dropped or self.replaced else "warning"

    @property
    def title(self) -> str:
        if self.replaced:
            lost = "the database file was replaced"
        elif self.dropped:
            lost = f"{self.dropped:,} predictions forgotten"
        elif self.refused:
            lost = f"{self.refused:,} predictions refused"
        else:
            lost = f"{self.set_aside:,} predictions set aside"
        return f"recording: {lost} · {self.model}"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        if self.replaced:
            return "Restart servers and watchers now: they still write to the database file that was replaced."
        if self.dropped or self.refused:
            return "Look now: predictions are being lost. Is the database there, and is the disk full?"
        return "Nothing is lost: by day, look at `platform recording list`."

    @property
    def sentences(self) -> list[str]:
        """What happened, and what to do."""
        said = []
        if self.replaced:
            said.append(f"{self.replaced} was removed or replaced while a process had it open.")
            said.append("What was written before is in the old file; answers given since wait in the spools.")
            return [*said, "Restart servers and watchers that still hold the old file (`platform doctor` names them)."]
        if self.dropped:
            said.append(
                f"{self.dropped:,} predictions were answered and lost: the spool was full, or its file is gone."
            )
        if self.refused:
            said.append(f"{self.refused:,} predictions were refused with 503: they could not be kept.")
        if self.set_aside:
            said.append(f"{self.set_aside:,} predictions were answered and set aside: refused or damaged.")
            said.append("`platform recording list` shows them, `restore` writes them, `discard` gives them up.")
        if not self.dropped + self.refused:
            return said
        return [*said, "Look at the database and the disk; PLATFORM_SPOOL_MB sets how much may wait."]

    @property
    def facts(self) -> dict[str, str]:
        counts = {"Forgotten": self.dropped, "Refused": self.refused, "Set aside": self.set_aside}
        return {"Server": self.instance} | {name: f"{count:,}" for name, count in counts.items()}

    @property
    def reminder(self) -> str:
        """It is said again when ten times as many are lost."""
        return ""


def recording_loss_webhook(notice: RecordingLossNotice) -> dict[str, Any]:
    """The body for the signed webhook."""
    details = {
        "model": notice.model,
        "server": notice.instance,
        "severity": notice.severity,
        "dropped": notice.dropped,
        "refused": notice.refused,
        "set_aside": notice.set_aside,
        "replaced": notice.replaced,
    }
    return webhook_body("recording.lost", notice, details)


def recording_loss_alert(notice: RecordingLossNotice, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {
        "alertname": KIND,
        "model": notice.model,
        "server": notice.instance,
        "severity": notice.severity,
    }
    link = notice.links.get("Dashboard", "")
    return single_alert_payload(labels, ("alertname", "model", "server"), notice, link, receiver)
