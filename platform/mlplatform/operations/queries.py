"""What people are shown of the state: plain values for JSON and tables; it changes nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.context import Parts
from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.operations.label_status import label_status
from mlplatform.operations.prediction_view import LabelOut, PredictionDetail, ShadowOut
from mlplatform.operations.store_totals import totals
from mlplatform.predictions import prediction_records, shadow_predictions
from mlplatform.promotion import probations, promotion_history, quarantines, rollouts
from mlplatform.promotion.rollout_analysis import told
from mlplatform.retraining import retraining_queue
from mlplatform.schema_base import ModelName
from mlplatform.serialization import plain
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import ALIVE, WATCHER, leader_lease
from mlplatform.store.short_ids import Noun, short_ids
from monitors.statistics.paired_test import Duel, describe
from registry.catalog import Version

MOST_ALERTS = 1000


def prediction(parts: Parts, prediction_id: str) -> PredictionDetail:
    """A recorded prediction with its labels."""
    with parts.database.read() as connection:
        row = prediction_records.find(connection, prediction_id)
        labels = label_records.of_prediction(connection, prediction_id)
        beside = shadow_predictions.of_prediction(connection, prediction_id)
    classes = parts.family.classes
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


def report(parts: Parts, evaluation_id: str) -> Path:
    """The report file of an evaluation; raises NotFoundError when there is none or it was removed."""
    with parts.database.read() as connection:
        path = evaluations.find(connection, evaluation_id).report
    folder = (parts.settings.home / "reports").resolve()
    if path is None or not Path(path).is_file() or Path(path).resolve().parent != folder:
        raise NotFoundError(
            f"evaluation {evaluation_id!r} keeps no report; one is drawn when a rule begins to be broken"
        )
    return Path(path)


def models(parts: Parts) -> dict[str, Any]:
    """Versions of the served model with their probation and quarantine, its champion, and the newest promotions."""
    name = parts.family.name
    versions = parts.catalog.versions(name)
    with parts.database.read() as connection:
        history = promotion_history.history(connection, name, limit=20)
        probed = {each.version: standing(each) for each in reversed(probations.listed(connection, name))}
        trial = rollouts.newest(connection, name)
        tried = None if trial is None else plain(trial) | {"text": told(connection, trial)}
        barred = {version: entry.reason for version, entry in quarantines.current(connection, name).items()}
    return {
        "model": name,
        "champion": history[0].to_version if history else None,
        "versions": [
            _version(each) | {"probation": probed.get(each.version), "quarantine": barred.get(each.version)}
            for each in versions
        ],
        "promotions": plain(history),
        "trial": tried,
    }


def _version(version: Version) -> dict[str, Any]:
    shown = {key: value for key, value in plain(version).items() if key not in ("description", "source")}
    return shown | {"has_card": bool(version.description)}


def standing(probation: probations.Probation) -> str:
    """How a probation stands, in a few words."""
    if probation.state == "running":
        return f"on probation until {probation.until:%Y-%m-%d %H:%M} UTC"
    return {"failed": "being rolled back", "rolled-back": "rolled back"}.get(probation.state, probation.state)


def _probation(connection: Connection, model: str) -> dict[str, Any] | None:
    """The newest probation, with its standing and its evidence in words."""
    found = probations.listed(connection, model, limit=1)
    if not found:
        return None
    [newest] = found
    known = Duel.from_json(newest.duel)
    counts = describe(known, newest.version, newest.before)
    text = f"version {newest.version} {standing(newest)}. " + (newest.reason or counts)
    return {**plain(newest), "standing": standing(newest), "text": text, "evidence": known.evidence}


def status(parts: Parts) -> dict[str, Any]:
    """The platform at a glance: processes, champion and its probation, counts, open alerts, retrainings, outbox."""
    now, name = parts.clock(), parts.family.name
    with parts.database.read() as connection:
        promotion = promotion_history.latest(connection, name)
        return {
            "model": name,
            "champion": None if promotion is None else promotion.to_version,
            "probation": _probation(connection, name),
            "leader": leases.holder(connection, leader_lease(name), now),
            "processes": plain(
                [beat for beat in leases.alive(connection, now - ALIVE, now + ALIVE) if beat.is_about(name)]
            ),
            "counts": totals(connection, name),
            "labels": plain(label_status(connection, name, now)),
            "evaluations": plain(evaluations.newest_of_each(connection, name)),
            "alerts": _shortened(
                connection, "alert", alert_records.listed(connection, model_name=name, limit=MOST_ALERTS)
            ),
            "retrainings": _shortened(connection, "retraining", retraining_queue.recent(connection, 5, name)),
            "tasks": _shortened(connection, "task", tasks.open_tasks(connection, name)),
            "undelivered": plain(outbox.undelivered(connection, name)),
        }


def _shortened(connection: Connection, noun: Noun, rows: Sequence[object]) -> list[dict[str, Any]]:
    """The rows as plain values, each with the id that is enough to name it by."""
    shown = [plain(row) for row in rows]
    short = short_ids(connection, noun, [row["id"] for row in shown])
    return [{**row, "short_id": short[row["id"]]} for row in shown]


def watchers_here(parts: Parts) -> list[str]:
    """The watchers on this host that gave a sign of life lately: by a clock that was set back since, they did not."""
    host, now = parts.instance.partition(":")[0], parts.clock()
    with parts.database.read() as connection:
        beats = leases.alive(connection, now - ALIVE, now + ALIVE)
    return [beat.instance for beat in beats if beat.component == WATCHER and beat.instance.startswith(f"{host}:")]


def clock_faults(parts: Parts) -> list[str]:
    """What signs of life say of clocks that were set, or disagree."""
    now = parts.clock()
    with parts.database.read() as connection:
        beats = leases.alive(connection, now - ALIVE)
    remedy = "let all hosts keep time by NTP"
    faults = []
    for beat in beats:
        who, seconds = f"{beat.component} {beat.instance}", (beat.at - now).total_seconds()
        if seconds > ALIVE.total_seconds():
            faults.append(
                f"{who} gave a sign of life {seconds:.0f} s from now: this clock was set back since, or its host's is "
                f"ahead; {remedy}"
            )
        elif beat.details.get("clock"):
            faults.append(f"{who}: {beat.details['clock']}; {remedy}")
    return faults
