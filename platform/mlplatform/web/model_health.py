"""Says in a sentence each what is wrong with a model, what is being done, and what a person must do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.promotion.approvals import Approval
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.retraining.retraining_queue import Retraining
from mlplatform.store.tasks import LABELLING_KINDS, Task
from monitors.rules.quantities import count_text, single_line

HealthState = Literal["critical", "warning", "suspicious", "unknown", "good"]
HEALTH_ORDER: Final[tuple[HealthState, ...]] = ("critical", "warning", "suspicious", "unknown", "good")
"""The gravest first."""
HEALTH_TEXTS: Final[dict[HealthState, str]] = {
    "critical": "critical",
    "warning": "warning",
    "suspicious": "suspicion",
    "unknown": "not known",
    "good": "in order",
}
SEVERITY_ORDER: Final = ("critical", "warning", "info")
MAX_SENTENCE: Final = 320


@dataclass(frozen=True)
class OpenAlert:
    """An open alert as pages list it."""

    id: str
    rule: str
    key: str
    state: str
    severity: str
    sentence: str


@dataclass(frozen=True)
class Request:
    """What waits for a person, and the page below the root where they do it; empty where that is no page."""

    text: str
    address: str = ""


@dataclass(frozen=True)
class ModelState:
    """What is known of a model now."""

    champion: Promotion | None
    alerts: Sequence[OpenAlert]
    retrainings: Sequence[Retraining]
    tasks: Sequence[Task]
    short_ids: Mapping[str, str]
    """The beginning of each task's id that is enough to name it by."""
    undelivered: Sequence[OutboxMessage]
    probation: str
    """How the champion's probation stands while it runs, else empty."""
    approval: Approval | None
    """The candidate that waits for a person."""
    is_watched: bool
    """Whether a watcher has given a sign of life lately."""
    rules: int
    """How many rules were ever evaluated."""
    is_served_here: bool = False
    """Whether this server's pages take labels for the model, and change which version serves."""


@dataclass(frozen=True)
class ModelHealth:
    """The state, and the three sentences; `requests` are empty where nobody need do anything."""

    state: HealthState
    problem: str
    action: str
    requests: Sequence[Request]


def judge_health(known: ModelState) -> ModelHealth:
    """Judge by the gravest alert; without a champion or a watcher nothing can be judged."""
    return ModelHealth(_health_state(known), _problem(known), _action(known), _requests(known))


def alert_order(alert: OpenAlert) -> tuple[bool, int, str]:
    """The gravest first, those that are only suspected last."""
    severity = SEVERITY_ORDER.index(alert.severity) if alert.severity in SEVERITY_ORDER else len(SEVERITY_ORDER)
    return alert.state == "pending", severity, alert.id


def _health_state(known: ModelState) -> HealthState:
    proved = {alert.severity for alert in known.alerts if alert.state != "pending"}
    if "critical" in proved:
        return "critical"
    if "warning" in proved:
        return "warning"
    if known.champion is None or not known.is_watched or not known.rules:
        return "unknown"
    return "suspicious" if known.alerts else "good"


def _problem(known: ModelState) -> str:
    if known.champion is None:
        return "No version serves yet: `platform train` makes the first."
    if known.alerts:
        first, *others = sorted(known.alerts, key=alert_order)
        sentence = single_line(first.sentence)
        shown = sentence if len(sentence) <= MAX_SENTENCE else f"{sentence[:MAX_SENTENCE]}…"
        return f"{shown} And {count_text(len(others), 'more alert')}." if others else shown
    if not known.is_watched:
        return "No watcher has given a sign of life within 30 seconds: no rule is evaluated and nobody would be told."
    if not known.rules:
        return "No rule has been evaluated yet."
    return f"Nothing: {count_text(known.rules, 'rule')} found no breach."


def _action(known: ModelState) -> str:
    for retraining in known.retrainings:
        progress = retraining.progress or {}
        step = f": {progress['step']}" if "step" in progress else ""
        if retraining.state == "running":
            return f"A retraining runs{step}."
        if retraining.state == "queued":
            return f"A retraining waits{step}."
    if known.probation:
        return f"Version {known.probation}."
    return "Nothing is under way."


def _requests(known: ModelState) -> list[Request]:
    requests = []
    firing = sorted((alert for alert in known.alerts if alert.state == "firing"), key=alert_order)
    for alert in firing[:3]:
        about = f"{alert.rule} {alert.key}".strip()
        requests.append(Request(f"Look at {about}, and acknowledge it", f"alerts/{alert.id}"))
    if len(firing) > 3:
        requests.append(Request(f"and at {count_text(len(firing) - 3, 'more alert')}", "alerts"))
    if known.approval is not None:
        until = f"until {known.approval.expires_at:%Y-%m-%d %H:%M} UTC"
        version = known.approval.version
        decision = f"Approve or reject version {version} {until}"
        if known.is_served_here:
            requests.append(Request(decision, f"versions/{version}"))
        else:
            requests.append(Request(f"{decision}: platform models approve {version}"))
    for task in known.tasks:
        if task.kind in LABELLING_KINDS:
            wanted = count_text(len(task.details.get("predictions", ())), "input")
            if known.is_served_here:
                requests.append(Request(f"Label {wanted}", f"review/{task.id}"))
            else:
                requests.append(Request(f"Label {wanted}: platform audit next --task {known.short_ids[task.id]}"))
        elif task.kind == "review-retraining":
            requests.append(Request("Find out why retrainings bring nothing: platform status --all"))
    if known.undelivered:
        channels = ", ".join(sorted({message.channel for message in known.undelivered}))
        requests.append(Request(f"{count_text(len(known.undelivered), 'notice')} not delivered; see to: {channels}"))
    if not known.is_watched and known.champion is not None:
        requests.append(Request("Start a watcher: platform watch"))
    return requests
