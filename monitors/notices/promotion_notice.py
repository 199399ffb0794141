"""The notice about a version that became champion."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from monitors.notices.notice import StandaloneNotice, Thumbnail
from monitors.notices.webhook import webhook_body
from monitors.rules.alerts_config import Severity

KIND: Final = "promoted"


@dataclass(frozen=True)
class PromotionNotice(StandaloneNotice):
    """One version that serves instead of another from now on; one idempotency key is one promotion."""

    model: str
    version: int
    previous_version: int
    actor: str
    reason: str
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    severity: Severity = "info"
    kind: str = KIND
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def title(self) -> str:
        return f"promoted: {self.model} v{self.version} serves instead of v{self.previous_version}"

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        return "Nothing to do now. To go back at once: `platform models rollback`."

    @property
    def sentences(self) -> list[str]:
        """Why, and what that means."""
        return [self.reason, f"Open alerts about version {self.previous_version} end with its service."]

    @property
    def facts(self) -> dict[str, str]:
        return {
            "Version": f"{self.model} v{self.version}",
            "Before": f"{self.model} v{self.previous_version}",
            "By": self.actor,
        }

    @property
    def reminder(self) -> str:
        """It is said once: nothing is left to do at once."""
        return ""


def promotion_webhook(notice: PromotionNotice) -> dict[str, Any]:
    """The body for the signed webhook."""
    details = {
        "model": notice.model,
        "version": notice.version,
        "before": notice.previous_version,
        "actor": notice.actor,
        "severity": notice.severity,
        "reason": notice.reason,
    }
    return webhook_body(f"model.{notice.kind}", notice, details)
