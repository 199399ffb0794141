"""The pages of retrainings: the queue with its form, and one with its progress, data, verdict and links."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup
from sqlalchemy import Connection

from mlplatform.alerting import alert_records
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import REMEDIES, usage_sentence
from mlplatform.retraining.retraining_limits import HoldReason, hold_reason
from mlplatform.retraining.retraining_queue import OPEN_STATES, Retraining
from mlplatform.retraining.supervisor import start_limits
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease_name
from mlplatform.web.charts.step_chart import MAX_LINES, StepLine, step_chart
from mlplatform.web.loss_curves import LossCurves
from mlplatform.web.rendering import render_page
from mlplatform.web.version_pages import CheckRow, check_rows
from monitors.errors import RulesError
from registry.errors import GateError, RegistryError
from registry.gate.verdict import Verdict

MAX_RETRAININGS: Final = 50
RUNNING_REFRESH_SECONDS: Final = 5
REFRESH_SECONDS: Final = 30
LOSS_PART: Final = "loss"
"""Metrics of a run with this in their name are its loss curve."""
TRIGGER_TEXTS: Final[Mapping[str, str]] = {
    "manual": "a person",
    "api": "the API",
    "alert": "an alert",
}


@dataclass(frozen=True)
class Cause:
    """Who or what asked for a retraining; `alert_id` and `rule` name the alert, where it was one."""

    by: str
    reason: str
    alert_id: str = ""
    rule: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a running retraining is; `epochs` is 0 where they are not counted."""

    step: str
    epoch: int = 0
    epochs: int = 0
    accuracy: float | None = None


@dataclass(frozen=True)
class LabelUse:
    """What became of the labels: a sentence, and (reason, count, what it means) of those that were set aside.

    `is_done` says that a candidate was made of them and judged; before that, and where none was, they were chosen only.
    """

    sentence: str
    is_done: bool
    given: int
    trained: int
    judged: int
    excluded: Sequence[tuple[str, int, str]]


def retrainings_page(context: AppContext, form_token: str) -> str:
    """The newest retrainings of the served model, what the next one waits for, and the form that asks for one."""
    name, now = context.model_name, context.clock()
    with context.database.read() as connection:
        rows = retraining_queue.recent(connection, MAX_RETRAININGS, name)
        holds = {row.id: _hold_text(connection, context, row) for row in rows if row.state == "queued"}
        has_leader = leases.current_holder(connection, leader_lease_name(name), now) is not None
    return render_page(
        "retrainings.html",
        path="/retrainings",
        title=f"Retrainings of {name}",
        section="Retrainings",
        refresh_seconds=RUNNING_REFRESH_SECONDS if any(row.state in OPEN_STATES for row in rows) else REFRESH_SECONDS,
        rows=rows,
        holds=holds,
        triggers=TRIGGER_TEXTS,
        has_leader=has_leader,
        is_queued=bool(holds),
        most=MAX_RETRAININGS,
        form_token=form_token,
    )


def retraining_page(context: AppContext, curves: LossCurves, retraining_id: str, form_token: str) -> str:
    """One retraining, with the form to cancel it while it is open; raises NotFoundError."""
    with context.database.read() as connection:
        row = retraining_queue.find(connection, retraining_id)
        causes = [_cause(connection, cause) for cause in row.causes]
        hold = _hold_text(connection, context, row) if row.state == "queued" else ""
    is_open = row.state in OPEN_STATES
    return render_page(
        "retraining.html",
        path=f"/retrainings/{retraining_id}",
        title=f"Retraining of {row.pipeline}",
        section="Retrainings",
        refresh_seconds=RUNNING_REFRESH_SECONDS if is_open else 0,
        row=row,
        trigger=TRIGGER_TEXTS.get(row.trigger, row.trigger),
        causes=causes,
        hold=hold,
        progress=_progress(row),
        curve=_loss_curve(curves, row) if row.run_id else None,
        labels=_label_use(row),
        reasons=[str(reason) for reason in (row.verdict or {}).get("reasons", [])],
        outcome=(row.verdict or {}).get("outcome", ""),
        checks=_checks(row.verdict),
        run_link=_run_link(context, row),
        is_own=row.pipeline == context.model_name,
        can_cancel=is_open,
        form_token=form_token,
    )


def _hold_text(connection: Connection, context: AppContext, row: Retraining) -> str:
    """Why a queued retraining waits, as far as its limits and its progress say."""
    progress = row.progress or {}
    texts = []
    if "needed" in progress:
        texts.append(f"waits for labels: {progress.get('labels', 0):,} of {progress['needed']:,}")
    elif "step" in progress:
        texts.append(str(progress["step"]))
    held = _limit_hold(connection, context, row)
    if held is not None:
        texts.append(f"held: {held.text}")
    return "; ".join(texts) or "waits for the watcher to start it"


def _limit_hold(connection: Connection, context: AppContext, row: Retraining) -> HoldReason | None:
    try:
        if context.rules.model != row.pipeline:
            return None
        limits = start_limits(context.rules.retraining)
    except RulesError:
        return None
    return hold_reason(connection, row.pipeline, row.trigger, limits, context.clock())


def _cause(connection: Connection, cause: Mapping[str, Any]) -> Cause:
    alert_id, rule = cause.get("alert") or "", ""
    if alert_id:
        try:
            alert = alert_records.find(connection, alert_id)
            rule = f"{alert.rule} {alert.key}".strip()
        except NotFoundError:  # it is older than what is kept
            alert_id = ""
    return Cause(str(cause.get("by", "")), str(cause.get("reason", "")), alert_id, rule)


def _progress(row: Retraining) -> Progress | None:
    if row.state != "running":
        return None
    known = row.progress or {}
    accuracy = known.get("validation_accuracy")
    return Progress(
        str(known.get("step", "starting")), int(known.get("epoch", 0)), int(known.get("epochs", 0)), accuracy
    )


def shared_loss_curves(context: AppContext) -> LossCurves:
    """The losses of runs as MLflow has them, for all who look at a server's pages."""
    return LossCurves(lambda run_id: context.tracking.read_metric_histories(run_id, LOSS_PART, MAX_LINES))


def _loss_curve(curves: LossCurves, row: Retraining) -> Markup:
    """The losses that its run has so far, or a sentence where they cannot be read."""
    try:
        histories = curves.of(row.run_id or "")
    except RegistryError:
        return Markup("<p>The loss curve cannot be read from MLflow now.</p>")
    is_curve = row.state == "running" or any(len(points) > 1 for points in histories.values())
    lines = [StepLine(name.replace("_", " "), points) for name, points in histories.items()]
    if not (lines and is_curve):
        return Markup("<p>Its run has no loss by epoch.</p>")
    return step_chart("Loss", lines, "{:.3g}".format, note="by epoch, as its run in MLflow has it")


def _label_use(row: Retraining) -> LabelUse | None:
    """What became of the labels, from the verdict, or before there is one from the progress."""
    judged = (row.verdict or {}).get("labels")
    usage = judged or (row.progress or {}).get("label_use")
    if not usage:
        return None
    sentence = usage_sentence(row.verdict) if judged else _chosen_sentence(row.state, usage)
    excluded = [(reason, count, REMEDIES.get(reason, "")) for reason, count in usage["set_aside"].items()]
    return LabelUse(sentence, bool(judged), usage["given"], usage["trained"], usage["judged"], excluded)


def _chosen_sentence(state: str, usage: Mapping[str, Any]) -> str:
    """For what the labels of a retraining without a verdict were chosen."""
    tense, end = ("is", "") if state == "running" else ("was", " No verdict came of it.")
    return (
        f"It {tense} to learn from {usage['trained']:,} of {usage['given']:,} labels and to be judged on "
        f"{usage['judged']:,}.{end}"
    )


def _checks(verdict: Mapping[str, Any] | None) -> list[CheckRow]:
    """The gate's table; empty where the verdict is none, or of a form that is not known."""
    if not verdict:
        return []
    try:
        return check_rows(Verdict.from_json(json.dumps(verdict)).checks)
    except GateError:
        return []


def _run_link(context: AppContext, row: Retraining) -> str:
    base = context.settings.mlflow_public_url.rstrip("/")
    return f"{base}/#/runs/{row.run_id}" if base.startswith(("http://", "https://")) and row.run_id else ""
