"""What people are shown of the state: plain values for JSON and tables; it changes nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.operations.label_status import label_status
from mlplatform.operations.prediction_view import LabelOut, PredictionDetail, ShadowOut
from mlplatform.operations.store_totals import store_totals
from mlplatform.predictions import prediction_records, shadow_predictions
from mlplatform.promotion import probations, promotion_history, quarantines, rollouts
from mlplatform.promotion.rollout_analysis import describe_rollout
from mlplatform.retraining import retraining_queue
from mlplatform.schema_base import ModelName
from mlplatform.serialization import to_jsonable
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import ALIVE_PERIOD, WATCHER, leader_lease_name
from mlplatform.store.short_ids import IdKind, abbreviate_ids
from monitors.statistics.paired_test import PairedTest, describe_test
from registry.catalog import RegisteredVersion

MAX_ALERTS = 1000


def load_prediction(context: AppContext, prediction_id: str) -> PredictionDetail:
    """A recorded prediction with its labels."""
    with context.database.read() as connection:
        row = prediction_records.find(connection, prediction_id)
        labels = label_records.current_labels(connection, prediction_id)
        beside = shadow_predictions.list_by_prediction(connection, prediction_id)
    classes = context.pipeline.classes
    return PredictionDetail(
        id=row.id,
        at=row.at,
        label=row.label,
        confidence=row.confidence,
        probabilities=dict(zip(classes, row.probabilities, strict=True)),
        latency_ms=row.latency_ms,
        model=ModelName(name=row.model_name, version=row.model_version),
        image_hash=row.image_hash,
        request_id=row.request_id,
        client_id=row.client_id,
        tags=row.tags or {},
        role=row.role,
        labels=[LabelOut(label=item.label, source=item.source, at=item.at) for item in labels],
        shadows=[
            ShadowOut(
                label=each.label,
                confidence=each.confidence,
                probabilities=dict(zip(classes, each.probabilities, strict=True)),
                model=ModelName(name=row.model_name, version=each.model_version),
            )
            for each in beside
        ],
    )


def find_report(context: AppContext, evaluation_id: str) -> Path:
    """The report file of an evaluation; raises NotFoundError when there is none or it was removed."""
    with context.database.read() as connection:
        path = evaluations.find(connection, evaluation_id).report
    folder = (context.settings.home / "reports").resolve()
    if path is None or not Path(path).is_file() or Path(path).resolve().parent != folder:
        raise NotFoundError(
            f"evaluation {evaluation_id!r} keeps no report; one is drawn when a rule begins to be broken"
        )
    return Path(path)


def model_overview(context: AppContext) -> dict[str, Any]:
    """Versions of the served model with their probation and quarantine, its champion, and the newest promotions."""
    name = context.pipeline.name
    versions = context.catalog.versions(name)
    with context.database.read() as connection:
        history = promotion_history.promotion_history(connection, name, limit=20)
        probed = {
            each.version: probation_standing(each) for each in reversed(probations.list_probations(connection, name))
        }
        trial = rollouts.latest_rollout(connection, name)
        tried = None if trial is None else to_jsonable(trial) | {"text": describe_rollout(connection, trial)}
        barred = {
            version: entry.reason for version, entry in quarantines.quarantined_versions(connection, name).items()
        }
    return {
        "model": name,
        "champion": history[0].to_version if history else None,
        "versions": [
            _version_view(each) | {"probation": probed.get(each.version), "quarantine": barred.get(each.version)}
            for each in versions
        ],
        "promotions": to_jsonable(history),
        "trial": tried,
    }


def _version_view(version: RegisteredVersion) -> dict[str, Any]:
    shown = {key: value for key, value in to_jsonable(version).items() if key not in ("description", "source")}
    return shown | {"has_card": bool(version.description)}


def probation_standing(probation: probations.Probation) -> str:
    """How a probation stands, in a few words."""
    if probation.state == "running":
        return f"on probation until {probation.until:%Y-%m-%d %H:%M} UTC"
    return {"failed": "being rolled back", "rolled-back": "rolled back"}.get(probation.state, probation.state)


def _probation_view(connection: Connection, model: str) -> dict[str, Any] | None:
    """The newest probation, with its standing and its evidence in words."""
    found = probations.list_probations(connection, model, limit=1)
    if not found:
        return None
    [newest] = found
    known = PairedTest.from_json(newest.duel)
    counts = describe_test(known, newest.version, newest.before)
    text = f"version {newest.version} {probation_standing(newest)}. " + (newest.reason or counts)
    return {**to_jsonable(newest), "standing": probation_standing(newest), "text": text, "evidence": known.evidence}


def platform_status(context: AppContext) -> dict[str, Any]:
    """The platform at a glance: processes, champion and its probation, counts, open alerts, retrainings, outbox."""
    now, name = context.clock(), context.pipeline.name
    with context.database.read() as connection:
        promotion = promotion_history.latest_promotion(connection, name)
        return {
            "model": name,
            "champion": None if promotion is None else promotion.to_version,
            "probation": _probation_view(connection, name),
            "leader": leases.current_holder(connection, leader_lease_name(name), now),
            "processes": to_jsonable(
                [
                    beat
                    for beat in leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD)
                    if beat.is_about(name)
                ]
            ),
            "counts": store_totals(connection, name),
            "labels": to_jsonable(label_status(connection, name, now)),
            "evaluations": to_jsonable(evaluations.latest_per_rule(connection, name)),
            "alerts": _with_short_ids(
                connection, "alert", alert_records.list_alerts(connection, model_name=name, limit=MAX_ALERTS)
            ),
            "retrainings": _with_short_ids(connection, "retraining", retraining_queue.recent(connection, 5, name)),
            "tasks": _with_short_ids(connection, "task", tasks.open_tasks(connection, name)),
            "undelivered": to_jsonable(outbox.list_undelivered(connection, name)),
        }


def _with_short_ids(connection: Connection, noun: IdKind, rows: Sequence[object]) -> list[dict[str, Any]]:
    """The rows as plain values, each with the id that is enough to name it by."""
    shown = [to_jsonable(row) for row in rows]
    short = abbreviate_ids(connection, noun, [row["id"] for row in shown])
    return [{**row, "short_id": short[row["id"]]} for row in shown]


def local_watchers(context: AppContext) -> list[str]:
    """The watchers on this host that gave a sign of life lately: by a clock that was set back since, they did not."""
    host, now = context.instance.partition(":")[0], context.clock()
    with context.database.read() as connection:
        beats = leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD)
    return [beat.instance for beat in beats if beat.component == WATCHER and beat.instance.startswith(f"{host}:")]


def clock_faults(context: AppContext) -> list[str]:
    """What signs of life say of clocks that were set, or disagree."""
    now = context.clock()
    with context.database.read() as connection:
        beats = leases.recent_heartbeats(connection, now - ALIVE_PERIOD)
    remedy = "let all hosts keep time by NTP"
    faults = []
    for beat in beats:
        who, seconds = f"{beat.component} {beat.instance}", (beat.at - now).total_seconds()
        if seconds > ALIVE_PERIOD.total_seconds():
            faults.append(
                f"{who} gave a sign of life {seconds:.0f} s from now: this clock was set back since, or its host's is "
                f"ahead; {remedy}"
            )
        elif beat.details.get("clock"):
            faults.append(f"{who}: {beat.details['clock']}; {remedy}")
    return faults
