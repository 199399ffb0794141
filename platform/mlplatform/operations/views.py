"""What operators are shown of the platform's state, as records; `to_jsonable` makes their JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.promotion.approvals import Approval
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.promotion.rollouts import Rollout
from mlplatform.retraining.retraining_queue import Retraining
from mlplatform.store.leases import Heartbeat
from mlplatform.store.tasks import Task


@dataclass(frozen=True)
class VersionView:
    """A registered version, with the standing of its probation and why it is in quarantine, where it is in any."""

    name: str
    version: int
    run_id: str
    created_at: datetime
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    has_card: bool
    probation: str | None
    quarantine: str | None


@dataclass(frozen=True)
class RolloutView(Rollout):
    """A rollout, and how it stands in words."""

    text: str = ""


@dataclass(frozen=True)
class ModelOverview:
    """The versions of a model, its champion (None before the first), newest promotions and newest rollout.

    `approvals` are the newest candidates that waited for a person, newest first.
    """

    model: str
    champion: int | None
    versions: Sequence[VersionView]
    promotions: Sequence[Promotion]
    trial: RolloutView | None
    approvals: Sequence[Approval]


@dataclass(frozen=True)
class ProbationView(Probation):
    """A probation, with its standing in a few words, all of it in a sentence, and the test's evidence (1 decides)."""

    standing: str = ""
    text: str = ""
    evidence: float = 0.0


@dataclass(frozen=True)
class RetrainingView(Retraining):
    """A retraining, with the beginning of its id that is enough to name it by."""

    short_id: str = ""


@dataclass(frozen=True)
class TaskView(Task):
    """A task for people, with the beginning of its id that is enough to name it by."""

    short_id: str = ""


@dataclass(frozen=True)
class LabelStatus:
    """How many labels wait for their prediction, were given up or estimate nothing, and what the last retraining used.

    `last_retraining` is a sentence, empty where no retraining came to a verdict.
    """

    waiting: int
    waiting_since: datetime | None
    given_up: int
    not_drawn_for_audit: int
    last_retraining: str


@dataclass(frozen=True)
class PlatformStatus:
    """The platform at a glance: what `platform status` and the dashboard show.

    `counts` are totals by noun; `alerts` are the rows of open alerts, each with its `short_id`.
    """

    model: str
    champion: int | None
    probation: ProbationView | None
    leader: str | None
    processes: Sequence[Heartbeat]
    counts: Mapping[str, int]
    labels: LabelStatus
    evaluations: Sequence[Evaluation]
    alerts: Sequence[Mapping[str, Any]]
    retrainings: Sequence[RetrainingView]
    tasks: Sequence[TaskView]
    undelivered: Sequence[OutboxMessage]


@dataclass(frozen=True)
class ReviewWindow:
    """How many predictions were drawn for review within `window`, how many are settled, since when the oldest waits."""

    window: str
    drawn: int
    settled: int
    oldest_open: datetime | None


@dataclass(frozen=True)
class ReviewStatus:
    """How far the review of the champion's drawn predictions is; `plan` is the sampling plan in force since `since`."""

    version: int
    plan: Mapping[str, Any] | None
    since: datetime | None
    windows: Sequence[ReviewWindow]


@dataclass(frozen=True)
class ApiKeyView:
    """An API key without its digest; `state` is "works", "revoked" or "expired"."""

    id: str
    name: str
    scopes: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    state: str
