"""`platform doctor`: checks what is configured, reachable and missing."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

from mlplatform.access_settings import LOOPBACK_HOSTS
from mlplatform.alerting import outbox
from mlplatform.audit import checkpoints
from mlplatform.audit.checkpoint_verification import find_contradictions
from mlplatform.context import AppContext, create_context, load_environment
from mlplatform.errors import ModelUnavailableError
from mlplatform.host.file_permissions import accessible_to_others
from mlplatform.monitoring.sampling_plan import recent_reviews
from mlplatform.network.proxies import proxy_variable
from mlplatform.operations.doctor.check_requirements import KNOWN_ERRORS, needs_current_store, schema_is_current
from mlplatform.operations.doctor.class_label_diagnostics import check_class_labels
from mlplatform.operations.doctor.column_diagnostics import check_columns
from mlplatform.operations.doctor.detection_diagnostics import check_budgets, check_detection, check_label_reading
from mlplatform.operations.doctor.pipeline_diagnostics import check_pipeline
from mlplatform.operations.doctor.sign_in_diagnostics import check_sign_in
from mlplatform.operations.label_status import label_status, last_evaluated_retraining, status_sentences
from mlplatform.operations.operator_actions import describe_keys
from mlplatform.operations.queries import clock_faults
from mlplatform.operations.review_progress import skipped_reviews_sentence
from mlplatform.operations.scaffold import template_variables
from mlplatform.promotion import promotion_history
from mlplatform.recording.spool import directory
from mlplatform.recording.spool.loss_ledger import LOSS_FILE, rows_lost_since
from mlplatform.recording.spool.quarantined_rows import RowQuarantine
from mlplatform.retraining.label_use import is_quota_starved
from mlplatform.settings import Settings
from mlplatform.store import leases, tasks
from mlplatform.store.database import Database, database_file, is_known_revision
from mlplatform.store.file_identity import may_be_running, read_replacements
from mlplatform.store.leadership import ALIVE_PERIOD, WATCHER, leader_lease_name
from monitors.errors import MonitorError
from monitors.rules.alerts_config import Rule, load_rules
from monitors.statistics.review_sampling import settled_shares
from monitors.windows.user_metrics import load_function
from registry.errors import RegistryError

LOW_DISK_BYTES = 2**30
EXAMPLE_CLASSES = ("a", "b", "c")


@dataclass(frozen=True)
class CheckResult:
    """One line of the diagnosis; `mark` is ok, note or problem."""

    mark: str
    subject: str
    detail: str


def run_checks(settings: Settings) -> list[CheckResult]:
    """Run every check; a check that fails is a problem among the results."""
    context = create_context(settings)
    results: list[CheckResult] = []
    for subject, check in CHECKS.items():
        try:
            results += [CheckResult(mark, subject, detail) for mark, detail in check(context)]
        except KNOWN_ERRORS as error:
            results.append(CheckResult("problem", subject, str(error)))
    return results


def _settings(context: AppContext) -> Iterator[tuple[str, str]]:
    setting_names = {f"PLATFORM_{name.upper()}" for name in Settings.model_fields}
    variables = {name for name in load_environment() if name.startswith("PLATFORM_")}
    file = context.settings.alerts_file
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    unknown = variables - setting_names - set(template_variables(text))
    for name in sorted(name for name in unknown if not name.startswith("PLATFORM_TEST_")):
        yield "problem", f"{name} is not a setting; the README lists them all"
    count = len(variables & setting_names)
    yield "ok", f"{count} of {len(setting_names)} settings are set; home is {context.settings.home.resolve()}"


def _disk(context: AppContext) -> Iterator[tuple[str, str]]:
    home = context.settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        yield "problem", f"{home} cannot be written; set PLATFORM_HOME to a folder of your own"
    free = shutil.disk_usage(home).free
    mark = "ok" if free > LOW_DISK_BYTES else "problem"
    yield mark, f"{free / 2**30:.1f} GiB free at {home}"


def _files(context: AppContext) -> Iterator[tuple[str, str]]:
    mask, paths = context.settings.umask, list(accessible_to_others(context.settings))
    for path in paths:
        yield "problem", f"other users may use {path} (PLATFORM_UMASK={mask}); its owner may close it"
    if not paths:
        yield "ok", f"what lies in the home is private (PLATFORM_UMASK={mask})"


def _recording(context: AppContext) -> Iterator[tuple[str, str]]:
    folder = context.settings.spool_folder
    spools = directory.inspect_spools(folder)
    waiting, left = (sum(spool.rows for spool in spools if spool.alive is alive) for alive in (True, False))
    yield "ok", f"{waiting} prediction(s) wait for the database in spools of running servers"
    if left:
        yield "note", f"{left} prediction(s) of servers that ended wait in {folder}; a server started here records them"
    if lost := rows_lost_since(folder, context.clock() - RECENT_PERIOD):
        yield (
            "problem",
            f"{lost} answered prediction(s) were lost in the last day; {folder / LOSS_FILE} says when and why",
        )
    if files := RowQuarantine(folder).list_files():
        rows, damaged = sum(file.rows for file in files), sum(file.damaged for file in files)
        yield (
            "problem",
            (
                f"{rows} answered prediction(s) and {damaged} damaged stretch(es) of rows were set aside in {folder} "
                f"since {files[0].at:%Y-%m-%d %H:%M} UTC: `platform recording list`, then `restore` or `discard`"
            ),
        )


def _database(context: AppContext) -> Iterator[tuple[str, str]]:
    database = Database(context.settings.store_url)
    current, newest = database.revision()
    if current is None:
        yield "note", f"{database.url} is empty; any command that writes creates the tables"
    elif not is_known_revision(current):
        yield "problem", database.newer_schema_message(current)
    elif current != newest:
        yield "note", f"{database.url} is at revision {current}; the next command upgrades it to {newest}"
    else:
        yield "ok", f"{database.url} at revision {current}"
    if (path := database_file(context.settings.store_url)) is not None:
        yield from _replaced_database_files(path, context.clock() - RECENT_PERIOD)
    if database.is_sqlite:
        yield "note", "SQLite serves one machine; set PLATFORM_DATABASE_URL=postgresql+psycopg://... in production"


def _replaced_database_files(path: Path, since: datetime) -> Iterator[tuple[str, str]]:
    """Processes that found another file than they had opened; those that still run use the old one."""
    for event in read_replacements(path, since):
        if event.back:
            continue
        process = f"at {event.detected_at:%Y-%m-%d %H:%M} UTC process {event.pid} on {event.host}"
        sentence = f"{process} found {event.file} removed or replaced"
        if may_be_running(event):
            yield "problem", f"{sentence}; its answers wait in the spool: put the old file back, or restart it"
        else:
            yield "note", f"{sentence}; it has ended, and what it could not write was left in its spool"


def _mlflow(context: AppContext) -> Iterator[tuple[str, str]]:
    context.tracking.check()
    yield "ok", f"MLflow {metadata.version('mlflow')} store answers"
    for name, place in context.tracking.foreign_artifact_locations().items():
        yield "problem", f"MLflow experiment {name} keeps its files at {place}, outside of the home's artifacts"


def _model(context: AppContext) -> Iterator[tuple[str, str]]:
    name = context.model_name
    if not schema_is_current(context):
        yield "note", "not looked at: the database's tables are not those of this version"
        return
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, name)
    if champion is None:
        yield "note", f"{name} has no champion yet; `platform train` makes the first one"
        return
    alias = context.catalog.alias(name, "champion")
    mark = "ok" if alias == champion.to_version else "problem"
    yield mark, f"{name}: champion is version {champion.to_version}, MLflow's alias says {alias}"


def _rules(context: AppContext) -> Iterator[tuple[str, str]]:
    path: Path = context.settings.alerts_file
    rules = load_rules(path, load_environment())
    yield "ok", f"{path}: {len(rules.rules)} rules on {rules.model}"
    if rules.model != context.model_name:
        yield "problem", f"{path} watches {rules.model} but PLATFORM_PIPELINE is {context.model_name}"
    yield from _user_metrics(rules.rules, _known_classes(context))
    if (variable := proxy_variable(os.environ)) and not context.settings.delivery_proxy:
        yield "note", f"notices go directly, not through {variable}; PLATFORM_DELIVERY_PROXY sends them through a proxy"
    for name, channel in rules.channels.items():
        if not channel.is_configured:
            yield "note", f"channel {name} is not configured: nobody is told through it (see .env.example)"


def _known_classes(context: AppContext) -> tuple[str, ...]:
    """The classes of the model's versions; some that stand for them where they cannot be known."""
    if not schema_is_current(context):
        return EXAMPLE_CLASSES
    try:
        with context.database.read() as connection:
            return context.contracts.label_rules(connection, context.model_name).counted_names
    except (ModelUnavailableError, RegistryError):
        return EXAMPLE_CLASSES


def _user_metrics(rules: Sequence[Rule], classes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        family, _, own = rule.metric.partition(":")
        if family == "python":
            try:
                load_function(own)
            except MonitorError as error:
                yield "problem", f"rule {rule.name} decides nothing: {error}"
            else:
                yield "ok", f"rule {rule.name}: {own} can be called"
        if family == "evidently":
            from monitors.windows.evidently_adapter import (
                value_on_synthetic_rows,  # several seconds of import: only such rules pay it
            )

            try:
                value_on_synthetic_rows(own, rule.params, rule.value, classes)
            except MonitorError as error:
                yield "problem", f"rule {rule.name} decides nothing: {error}"
            else:
                yield "ok", f"rule {rule.name}: Evidently's {own} gives a number"


def _processes(context: AppContext) -> Iterator[tuple[str, str]]:
    now = context.clock()
    if not schema_is_current(context):
        yield "note", "not looked at: the database's tables are not those of this version"
        return
    with context.database.read() as connection:
        name = context.model_name
        alive = [
            heartbeat
            for heartbeat in leases.recent_heartbeats(connection, now - ALIVE_PERIOD, now + ALIVE_PERIOD)
            if heartbeat.is_about(name)
        ]
        leader = leases.current_holder(connection, leader_lease_name(context.model_name), now)
        notices = outbox.list_undelivered(connection, name)
    for component in ("api", WATCHER):
        count = sum(heartbeat.component == component for heartbeat in alive)
        yield "ok" if count else "note", f"{count} {component} process(es) alive in the last {ALIVE_PERIOD.seconds} s"
    yield "ok" if leader else "note", f"leading watcher: {leader or 'none'}"
    for fault in clock_faults(context):
        yield "problem", fault
    for heartbeat in alive:
        if heartbeat.component == "api" and heartbeat.details.get("error"):
            error = heartbeat.details["error"]
            yield "problem", f"API server {heartbeat.instance} does not follow the champion: {error}"
    failed = [notice for notice in notices if notice.state == "failed" and notice.next_attempt_at > now - RECENT_PERIOD]
    if failed:
        yield "problem", f"{len(failed)} notice(s) were given up: {failed[0].channel}: {failed[0].last_error}"
    late = [
        notice
        for notice in notices
        if notice.state == "waiting" and notice.last_error and notice.created_at < now - LATE_AFTER
    ]
    if late:
        yield "problem", f"{len(late)} notice(s) wait for receivers: {late[0].channel}: {late[0].last_error}"


@needs_current_store
def _labels(context: AppContext) -> Iterator[tuple[str, str]]:
    name = context.model_name
    with context.database.read() as connection:
        labels = label_status(connection, name, context.clock())
        last = last_evaluated_retraining(connection, name)
        breaker_tasks = tasks.open_tasks(connection, name, "review-retraining")
        skipped = settled_shares(recent_reviews(connection, name, context.clock()))
    if skipped:
        yield "note", skipped_reviews_sentence(skipped)
    sentences = status_sentences(labels)
    starved = last is not None and not last.promoted and is_quota_starved(last.verdict)
    for sentence in sentences:
        yield "problem" if starved and sentence.endswith(labels.last_retraining) else "note", sentence
    for task in breaker_tasks:
        yield "problem", f"alerts start no more retrainings: {' '.join(task.details.get('why', ()))}"
    if not sentences and not breaker_tasks:
        yield "ok", "no label waits in vain, and none was set aside"


def _api_access(context: AppContext) -> Iterator[tuple[str, str]]:
    settings = context.settings
    if not settings.requires_keys:
        mark = "ok" if settings.host in LOOPBACK_HOSTS else "problem"
        yield mark, f"the API on {settings.host} asks nobody for a key (PLATFORM_AUTH={settings.auth})"
        return
    if not schema_is_current(context):
        yield "note", "keys not looked at: the database's tables are not those of this version"
        return
    working = sum(key.state == "works" for key in describe_keys(context))
    yield "ok" if working else "note", f"the API asks for keys; {working} work (`platform keys create` makes one)"
    yield from check_sign_in(context)


@needs_current_store
def _audit(context: AppContext) -> Iterator[tuple[str, str]]:
    yield from checkpoint_findings(context)


def checkpoint_findings(context: AppContext) -> Iterator[tuple[str, str]]:
    """What the checkpoints say of the audit log's links; only `platform audit verify` looks at rows."""
    path = checkpoints.checkpoint_path(context)
    index, faults = checkpoints.inspect_checkpoint_file(context, path)
    with context.database.read() as connection:
        faults += find_contradictions(connection, index)
    for fault in faults[:MAX_FAULTS]:
        yield "problem", fault
    if len(faults) > MAX_FAULTS:
        yield "problem", f"and {len(faults) - MAX_FAULTS} more; `platform audit verify` names all"
    count = sum(len(links) for links in index.links.values())
    if not count:
        yield "note", f"no anchors in {path}; the leading watcher writes them"
    elif not faults:
        yield "ok", f"{count} anchored links are in their chains; `platform audit verify` also looks at rows"


MAX_FAULTS = 10
RECENT_PERIOD = timedelta(days=1)  # notices that were given up before are history
LATE_AFTER = timedelta(minutes=10)  # notices that nobody took for so long are a receiver's fault
CHECKS: dict[str, Callable[[AppContext], Iterator[tuple[str, str]]]] = {
    "settings": _settings,
    "disk": _disk,
    "files": _files,
    "recording": _recording,
    "database": _database,
    "mlflow": _mlflow,
    "rules": _rules,
    "budgets": check_budgets,
    "classes": check_class_labels,
    "label lags": check_label_reading,
    "pipeline": check_pipeline,
    "model": _model,
    "processes": _processes,
    "labels": _labels,
    "detection": check_detection,
    "columns": check_columns,
    "doors": _api_access,
    "audit": _audit,
}
