"""The notice about a candidate that waits for a person's approval, or whose wait has ended without a promotion."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from monitors.notices.notice import StandaloneNotice, Thumbnail
from monitors.notices.webhook import webhook_body
from monitors.rules.alerts_config import Severity

ApprovalNoticeKind = Literal["approval-requested", "approval-rejected", "approval-expired"]
_TITLES: Final[Mapping[ApprovalNoticeKind, str]] = {
    "approval-requested": "approval needed",
    "approval-rejected": "rejected",
    "approval-expired": "approval expired",
}


@dataclass(frozen=True)
class ApprovalNotice(StandaloneNotice):
    """One candidate that passed the gate; an idempotency key is one approval in one state."""

    kind: ApprovalNoticeKind
    model: str
    version: int
    champion: int | None
    reason: str
    verdict_reasons: tuple[str, ...]
    actor: str
    comment: str
    at: datetime
    expires_at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def severity(self) -> Severity:
        return "warning" if self.kind == "approval-requested" else "info"

    @property
    def title(self) -> str:
        return f"{_TITLES[self.kind]}: {self.model} v{self.version}"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        if self.kind != "approval-requested":
            return "Nothing to do now."
        return f"Nothing is urgent: decide on version {self.version} before {self.expires_at:%Y-%m-%d %H:%M} UTC."

    @property
    def sentences(self) -> list[str]:
        """What serves meanwhile, what is asked of whom, and why the candidate is there."""
        serving = "No version serves yet" if self.champion is None else f"Version {self.champion} serves on"
        asked = {
            "approval-requested": f"{serving} until somebody approves version {self.version}: "
            f"`platform models approve {self.version}`, or `reject`, before {self.expires_at:%Y-%m-%d %H:%M} UTC.",
            "approval-rejected": f"{serving}: {self.actor} rejected version {self.version}: {self.comment}",
            "approval-expired": f"{serving}: nobody decided on version {self.version} in time. Retrain, or promote "
            f"it by hand: `platform models promote {self.version}`.",
        }[self.kind]
        return [asked, f"Trained because: {self.reason}", *self.verdict_reasons]

    @property
    def facts(self) -> dict[str, str]:
        serving = {} if self.champion is None else {"Champion": f"{self.model} v{self.champion}"}
        return {"Candidate": f"{self.model} v{self.version}", **serving, "By": self.actor}

    @property
    def reminder(self) -> str:
        """It is said once: an approval that is not given expires, and that is said as well."""
        return ""


def approval_webhook(notice: ApprovalNotice) -> dict[str, Any]:
    """The body for the signed webhook: `model.approval-requested`, `-rejected` or `-expired`."""
    details = {
        "model": notice.model,
        "version": notice.version,
        "champion": notice.champion,
        "actor": notice.actor,
        "comment": notice.comment,
        "severity": notice.severity,
        "reason": notice.reason,
        "verdict": list(notice.verdict_reasons),
        "expires_at": notice.expires_at.isoformat(),
    }
    return webhook_body(f"model.{notice.kind}", notice, details)
