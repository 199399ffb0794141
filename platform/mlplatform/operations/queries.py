"""Reads the state of the platform for commands, routes and the dashboard, as the records of `views`."""

from pathlib import Path

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.operations.label_status import label_status
from mlplatform.operations.prediction_view import LabelOut, PredictionDetail, ShadowOut
from mlplatform.operations.store_totals import store_totals
from mlplatform.operations.views import (
    ModelOverview,
    PlatformStatus,
    ProbationView,
    RetrainingView,
    RolloutView,
    TaskView,
    VersionView,
)
from mlplatform.predictions import prediction_records, shadow_predictions
from mlplatform.promotion import approvals, probations, promotion_history, quarantines, rollouts
from mlplatform.promotion.rollout_analysis import describe_rollout
from mlplatform.retraining import retraining_queue
from mlplatform.schema_base import ModelName
from mlplatform.serialization import to_jsonable
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import ALIVE_PERIOD, WATCHER, leader_lease_name
from mlplatform.store.short_ids import abbreviate_ids
from monitors.decisions.version_comparison import VersionComparison
from pipelines.answers import answer_reader
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import TableInputs

MAX_ALERTS = 1000


def load_prediction(context: AppContext, prediction_id: str) -> PredictionDetail:
    """A recorded prediction with its labels."""
    with context.database.read() as connection:
        row = prediction_records.find(connection, prediction_id)
        labels = label_records.current_labels(connection, prediction_id)
        shadows = shadow_predictions.list_by_prediction(connection, prediction_id)
        contracts = {
            version: context.contracts.of(connection, row.model_name, version)
            for version in {row.model_version, *(shadow.model_version for shadow in shadows)}
        }
        inputs, record = contracts[row.model_version].inputs, None
        if isinstance(inputs, TableInputs):
            record = TableCodec(inputs.columns).to_record(
                prediction_records.load_input(connection, row.image_hash).content
            )
    readers = {version: answer_reader(contract.task) for version, contract in contracts.items()}
    return PredictionDetail(
        id=row.id,
        at=row.at,
        label=row.label,
        confidence=row.confidence,
        probabilities=readers[row.model_version].by_class(row.probabilities),
        characters=readers[row.model_version].by_character(row.probabilities),
        latency_ms=row.latency_ms,
        model=ModelName(name=row.model_name, version=row.model_version),
        image_hash=row.image_hash,
        request_id=row.request_id,
        client_id=row.client_id,
        reference=row.reference,
        subject=row.subject,
        row=record,
        tags=row.tags or {},
        role=row.role,
        labels=[LabelOut(label=label.label, source=label.source, at=label.at) for label in labels],
        shadows=[
            ShadowOut(
                label=shadow.label,
                confidence=shadow.confidence,
                probabilities=readers[shadow.model_version].by_class(shadow.probabilities),
                characters=readers[shadow.model_version].by_character(shadow.probabilities),
                model=ModelName(name=row.model_name, version=shadow.model_version),
            )
            for shadow in shadows
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


def model_overview(context: AppContext) -> ModelOverview:
    """Versions of the served model with their probation and quarantine, its champion, and the newest promotions."""
    name = context.model_name
    versions = context.catalog.versions(name)
    with context.database.read() as connection:
        history = promotion_history.promotion_history(connection, name, limit=20)
        oldest_first = reversed(probations.list_probations(connection, name))
        standings = {probation.version: probation_standing(probation) for probation in oldest_first}
        rollout = rollouts.latest_rollout(connection, name)
        quarantined = quarantines.quarantined_versions(connection, name)
        newest_approvals = approvals.latest_approvals(connection, name)
        trial = None if rollout is None else RolloutView(**vars(rollout), text=describe_rollout(connection, rollout))
    return ModelOverview(
        model=name,
        champion=history[0].to_version if history else None,
        versions=[
            VersionView(
                name=version.name,
                version=version.version,
                run_id=version.run_id,
                created_at=version.created_at,
                tags=version.tags,
                aliases=version.aliases,
                has_card=bool(version.description),
                probation=standings.get(version.version),
                quarantine=quarantined[version.version].reason if version.version in quarantined else None,
            )
            for version in versions
        ],
        promotions=history,
        trial=trial,
        approvals=newest_approvals,
    )


def probation_standing(probation: probations.Probation) -> str:
    """How a probation stands, in a few words."""
    if probation.state == "running":
        return f"on probation until {probation.until:%Y-%m-%d %H:%M} UTC"
    return {"failed": "being rolled back", "rolled-back": "rolled back"}.get(probation.state, probation.state)


def _newest_probation(connection: Connection, model: str) -> ProbationView | None:
    """The newest probation, with its standing and its evidence in words."""
    newest = next(iter(probations.list_probations(connection, model, limit=1)), None)
    if newest is None:
        return None
    comparison, standing = VersionComparison.from_json(newest.duel), probation_standing(newest)
    counts = comparison.sentence(newest.version, newest.before)
    text = f"version {newest.version} {standing}. " + (newest.reason or counts)
    return ProbationView(**vars(newest), standing=standing, text=text, evidence=comparison.evidence)


def platform_status(context: AppContext) -> PlatformStatus:
    """The platform at a glance: processes, champion and its probation, counts, open alerts, retrainings, outbox."""
    now, name = context.clock(), context.model_name
    with context.database.read() as connection:
        promotion = promotion_history.latest_promotion(connection, name)
        alerts = to_jsonable(alert_records.list_alerts(connection, model_name=name, limit=MAX_ALERTS))
        retrainings = retraining_queue.recent(connection, 5, name)
        open_tasks = tasks.open_tasks(connection, name)
        alert_ids = abbreviate_ids(connection, "alert", [alert["id"] for alert in alerts])
        retraining_ids = abbreviate_ids(connection, "retraining", [retraining.id for retraining in retrainings])
        task_ids = abbreviate_ids(connection, "task", [task.id for task in open_tasks])
        return PlatformStatus(
            model=name,
            champion=None if promotion is None else promotion.to_version,
            probation=_newest_probation(connection, name),
            leader=leases.current_holder(connection, leader_lease_name(name), now),
            processes=[
                heartbeat
                for heartbeat in leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD)
                if heartbeat.is_about(name)
            ],
            counts=store_totals(connection, name),
            labels=label_status(connection, name, now),
            evaluations=evaluations.latest_per_rule(connection, name),
            alerts=[{**alert, "short_id": alert_ids[alert["id"]]} for alert in alerts],
            retrainings=[RetrainingView(**vars(row), short_id=retraining_ids[row.id]) for row in retrainings],
            tasks=[TaskView(**vars(task), short_id=task_ids[task.id]) for task in open_tasks],
            undelivered=outbox.list_undelivered(connection, name),
        )


def local_watchers(context: AppContext) -> list[str]:
    """The watchers on this host that gave a sign of life lately, by this host's clock."""
    host, now = context.instance.partition(":")[0], context.clock()
    with context.database.read() as connection:
        heartbeats = leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD)
    return [
        heartbeat.instance
        for heartbeat in heartbeats
        if heartbeat.component == WATCHER and heartbeat.instance.startswith(f"{host}:")
    ]


def clock_faults(context: AppContext) -> list[str]:
    """What signs of life say of clocks that were set, or disagree."""
    now = context.clock()
    with context.database.read() as connection:
        heartbeats = leases.recent_heartbeats(connection, now - ALIVE_PERIOD)
    remedy = "let all hosts keep time by NTP"
    faults = []
    for heartbeat in heartbeats:
        process, seconds = f"{heartbeat.component} {heartbeat.instance}", (heartbeat.at - now).total_seconds()
        if seconds > ALIVE_PERIOD.total_seconds():
            faults.append(
                f"{process} gave a sign of life {seconds:.0f} s from now: this clock was set back since, or its "
                f"host's is ahead; {remedy}"
            )
        elif heartbeat.details.get("clock"):
            faults.append(f"{process}: {heartbeat.details['clock']}; {remedy}")
    return faults
