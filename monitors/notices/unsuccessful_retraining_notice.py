"""The notice about a retraining that brought nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from monitors.notices.alertmanager import single_alert_payload
from monitors.notices.notice import StandaloneNotice, Thumbnail
from monitors.notices.webhook import webhook_body
from monitors.rules.alerts_config import Severity

KIND: Final = "retraining-useless"


@dataclass(frozen=True)
class UnsuccessfulRetrainingNotice(StandaloneNotice):
    """One retraining that an alert started and that brought nothing: the how manieth in a row of how many allowed."""

    model: str
    retraining: str
    outcome: str
    reasons: tuple[str, ...]
    label_summary: str
    streak: int
    breaker: int
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    candidate: int | None = None
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def is_breaker_open(self) -> bool:
        """Whether alerts start no more retrainings."""
        return bool(self.breaker) and self.streak >= self.breaker

    @property
    def severity(self) -> Severity:
        return "critical" if self.is_breaker_open else "warning"

    @property
    def title(self) -> str:
        row = f"{self.streak} in a row" if self.streak > 1 else "nothing was promoted"
        return f"retraining brought nothing: {self.model} · {row}"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        if self.is_breaker_open:
            return f"By day, find out why: alerts start no more retrainings of {self.model}."
        return "Nothing to do now: the version in service stays."

    @property
    def sentences(self) -> list[str]:
        """Why nothing was gained, what became of the labels, and what happens next."""
        said = [*self.reasons, *([self.label_summary] if self.label_summary else [])]
        if self.is_breaker_open:
            said.append("Alerts start no more retrainings until a person retrains or promotes (`platform retrain`).")
        elif self.breaker:
            left = self.breaker - self.streak
            said.append(f"After {left} more like it alerts start none until a person looks.")
        return said

    @property
    def facts(self) -> dict[str, str]:
        candidate = {} if self.candidate is None else {"Candidate": f"version {self.candidate}"}
        return {"Model": self.model, **candidate, "Retraining": self.retraining, "Outcome": self.outcome}

    @property
    def reminder(self) -> str:
        """It is said once for each retraining."""
        return ""


def unsuccessful_retraining_webhook(notice: UnsuccessfulRetrainingNotice) -> dict[str, Any]:
    """The body for the signed webhook."""
    details = {
        "model": notice.model,
        "retraining": notice.retraining,
        "candidate": notice.candidate,
        "severity": notice.severity,
        "outcome": notice.outcome,
        "reasons": list(notice.reasons),
        "labels": notice.label_summary,
        "in_a_row": notice.streak,
        "stopped": notice.is_breaker_open,
    }
    return webhook_body("retraining.useless", notice, details)


def unsuccessful_retraining_alert(notice: UnsuccessfulRetrainingNotice, receiver: str) -> dict[str, Any]:
    """The body as Alertmanager would POST it: an alert of its own, which a person closes where incidents are kept."""
    labels = {
        "alertname": KIND,
        "model": notice.model,
        "retraining": notice.retraining,
        "severity": notice.severity,
    }
    link = next(iter(notice.links.values()), "")
    return single_alert_payload(labels, ("alertname", "model", "retraining"), notice, link, receiver)
