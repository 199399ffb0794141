"""What people and machines are told about a retraining that brought nothing; no store, and it sends nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from monitors.notices.alertmanager import lone_alert
from monitors.notices.notice import SingleNotice, Thumbnail
from monitors.rules.alerts_config import Severity

KIND: Final = "retraining-useless"


@dataclass(frozen=True)
class Stall(SingleNotice):
    """One retraining that an alert started and that brought nothing: the how manieth in a row of how many allowed."""

    model: str
    retraining: str
    outcome: str
    reasons: tuple[str, ...]
    labels: str
    streak: int
    breaker: int
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    candidate: int | None = None
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether alerts start no more retrainings."""
        return bool(self.breaker) and self.streak >= self.breaker

    @property
    def severity(self) -> Severity:
        return "critical" if self.stopped else "warning"

    @property
    def title(self) -> str:
        row = f"{self.streak} in a row" if self.streak > 1 else "nothing was promoted"
        return f"retraining brought nothing: {self.model} · {row}"

    @property
    def sentences(self) -> list[str]:
        """Why nothing was gained, what became of the labels, and what happens next."""
        said = [*self.reasons, *([self.labels] if self.labels else [])]
        if self.stopped:
            said.append("Alerts start no more retrainings until a person retrains or promotes (`platform retrain`).")
        elif self.breaker:
            left = self.breaker - self.streak
            said.append(f"After {left} more like it alerts start none until a person looks.")
        return said

    @property
    def facts(self) -> dict[str, str]:
        made = {} if self.candidate is None else {"Candidate": f"version {self.candidate}"}
        return {"Model": self.model, **made, "Retraining": self.retraining, "Outcome": self.outcome}

    @property
    def reminder(self) -> str:
        """It is said once for each retraining."""
        return ""


def stall_webhook(notice: Stall) -> dict[str, Any]:
    """The body for the signed webhook: type, timestamp and data."""
    return {
        "type": "retraining.useless",
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "data": {
            "idempotency_key": notice.idempotency_key,
            "title": notice.title,
            "model": notice.model,
            "retraining": notice.retraining,
            "candidate": notice.candidate,
            "severity": notice.severity,
            "outcome": notice.outcome,
            "reasons": list(notice.reasons),
            "labels": notice.labels,
            "in_a_row": notice.streak,
            "stopped": notice.stopped,
            "links": notice.all_links,
        },
    }


def stall_alert(notice: Stall, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {
        "alertname": KIND,
        "model": notice.model,
        "retraining": notice.retraining,
        "severity": notice.severity,
    }
    link = next(iter(notice.links.values()), "")
    return lone_alert(labels, ("alertname", "model", "retraining"), notice, link, receiver)
