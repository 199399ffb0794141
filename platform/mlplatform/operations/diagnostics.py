"""The doctor: what is configured, reachable and missing; it mends nothing."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

from mlplatform.alerting import outbox
from mlplatform.audit import checkpoints
from mlplatform.audit.checkpoint_verification import contradictions
from mlplatform.context import Parts, build, environment
from mlplatform.errors import PlatformError, StoreUnavailableError
from mlplatform.host.file_permissions import open_to_others
from mlplatform.network.proxies import proxy_of
from mlplatform.operations.label_status import in_words, label_status, last_judged
from mlplatform.operations.operator_actions import known_keys
from mlplatform.operations.queries import clock_faults
from mlplatform.operations.scaffold import variables
from mlplatform.promotion import promotion_history
from mlplatform.recording.spool import directory
from mlplatform.recording.spool.loss_ledger import LOST, lost_since
from mlplatform.recording.spool.quarantined_rows import Asides
from mlplatform.retraining.label_use import starved_by
from mlplatform.settings import LOOPBACK, Settings
from mlplatform.store import leases, tasks
from mlplatform.store.database import Database, file_of, knows
from mlplatform.store.file_identity import lives, replacements
from mlplatform.store.leadership import ALIVE, WATCHER, leader_lease
from monitors.errors import MonitorError
from monitors.rules.alerts_config import Rule, load_rules
from monitors.windows.user_metrics import function_of
from pipelines.errors import PipelineError
from registry.errors import RegistryError

LOW_DISK_BYTES = 2**30
KNOWN_ERRORS = (PlatformError, MonitorError, PipelineError, RegistryError, OSError)


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `mark` is ok, note or problem."""

    mark: str
    subject: str
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Every finding; nothing raises, a failure is a finding."""
    parts = build(settings)
    findings: list[Finding] = []
    for subject, look in CHECKS.items():
        try:
            findings += [Finding(mark, subject, detail) for mark, detail in look(parts)]
        except KNOWN_ERRORS as error:
            findings.append(Finding("problem", subject, str(error)))
    return findings


def _settings(parts: Parts) -> Iterator[tuple[str, str]]:
    known = {f"PLATFORM_{name.upper()}" for name in Settings.model_fields}
    given = {name for name in environment() if name.startswith("PLATFORM_")}
    file = parts.settings.alerts_file
    named = set(variables(file.read_text(encoding="utf-8", errors="replace"))) if file.is_file() else set()
    strange = sorted(name for name in given - known - named if not name.startswith("PLATFORM_TEST_"))
    for name in strange:
        yield "problem", f"{name} is not a setting; the README lists them all"
    yield "ok", f"{len(given & known)} of {len(known)} settings are set; home is {parts.settings.home.resolve()}"


def _disk(parts: Parts) -> Iterator[tuple[str, str]]:
    home = parts.settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        yield "problem", f"{home} cannot be written; set PLATFORM_HOME to a folder of your own"
    free = shutil.disk_usage(home).free
    mark = "ok" if free > LOW_DISK_BYTES else "problem"
    yield mark, f"{free / 2**30:.1f} GiB free at {home}"


def _files(parts: Parts) -> Iterator[tuple[str, str]]:
    mask, paths = parts.settings.umask, list(open_to_others(parts.settings))
    for path in paths:
        yield "problem", f"other users may use {path} (PLATFORM_UMASK={mask}); its owner may close it"
    if not paths:
        yield "ok", f"what lies in the home is private (PLATFORM_UMASK={mask})"


def _recording(parts: Parts) -> Iterator[tuple[str, str]]:
    folder = parts.settings.spool_folder
    seen = directory.look(folder)
    waiting, left = (sum(each.rows for each in seen if each.alive is alive) for alive in (True, False))
    yield "ok", f"{waiting} prediction(s) wait for the database in spools of running servers"
    if left:
        yield "note", f"{left} prediction(s) of servers that ended wait in {folder}; a server started here records them"
    if lost := lost_since(folder, parts.clock() - RECENT):
        yield "problem", f"{lost} answered prediction(s) were lost in the last day; {folder / LOST} says when and why"
    if aside := Asides(folder).listed():
        rows, damaged = sum(each.rows for each in aside), sum(each.damaged for each in aside)
        yield (
            "problem",
            (
                f"{rows} answered prediction(s) and {damaged} damaged stretch(es) of rows were set aside in {folder} "
                f"since {aside[0].at:%Y-%m-%d %H:%M} UTC: `platform recording list`, then `restore` or `discard`"
            ),
        )


def _database(parts: Parts) -> Iterator[tuple[str, str]]:
    database = Database(parts.settings.store_url)
    current, newest = database.revision()
    if current is None:
        yield "note", f"{database.url} is empty; any command that writes creates the tables"
    elif not knows(current):
        yield "problem", database.newer(current)
    elif current != newest:
        yield "note", f"{database.url} is at revision {current}; the next command upgrades it to {newest}"
    else:
        yield "ok", f"{database.url} at revision {current}"
    if (path := file_of(parts.settings.store_url)) is not None:
        yield from _replaced(path, parts.clock() - RECENT)
    if database.is_sqlite:
        yield "note", "SQLite serves one machine; set PLATFORM_DATABASE_URL=postgresql+psycopg://... in production"


def _replaced(path: Path, since: datetime) -> Iterator[tuple[str, str]]:
    """Processes that found another file than they had opened; those that run still hold the old one."""
    for found in replacements(path, since):
        if found.back:
            continue
        who = f"at {found.moment:%Y-%m-%d %H:%M} UTC process {found.pid} on {found.host}"
        said = f"{who} found {found.file} removed or replaced"
        if lives(found):
            yield "problem", f"{said}; its answers wait in the spool: put the old file back, or restart it"
        else:
            yield "note", f"{said}; it has ended, and what it could not write was left in its spool"


def _mlflow(parts: Parts) -> Iterator[tuple[str, str]]:
    parts.tracking.check()
    yield "ok", f"MLflow {metadata.version('mlflow')} store answers"
    for name, place in parts.tracking.strange_locations().items():
        yield "problem", f"MLflow experiment {name} keeps its files at {place}, outside of the home's artifacts"


def _model(parts: Parts) -> Iterator[tuple[str, str]]:
    family = parts.family
    if not _tables_are_current(parts):
        yield "note", "not looked at: the database's tables are not those of this version"
        return
    with parts.database.read() as connection:
        champion = promotion_history.latest(connection, family.name)
    if champion is None:
        yield "note", f"{family.name} has no champion yet; `platform train` makes the first one"
        return
    alias = parts.catalog.alias(family.name, "champion")
    mark = "ok" if alias == champion.to_version else "problem"
    yield mark, f"{family.name}: champion is version {champion.to_version}, MLflow's alias says {alias}"


def _rules(parts: Parts) -> Iterator[tuple[str, str]]:
    path: Path = parts.settings.alerts_file
    rules = load_rules(path, environment())
    yield "ok", f"{path}: {len(rules.rules)} rules on {rules.model}"
    if rules.model != parts.family.name:
        yield "problem", f"{path} watches {rules.model} but PLATFORM_PIPELINE is {parts.family.name}"
    yield from _own_metrics(rules.rules, parts.family.classes)
    if (variable := proxy_of(os.environ)) and not parts.settings.delivery_proxy:
        yield "note", f"notices go directly, not through {variable}; PLATFORM_DELIVERY_PROXY sends them through a proxy"
    for name, channel in rules.channels.items():
        if not channel.configured:
            yield "note", f"channel {name} is not configured: nobody is told through it (see .env.example)"


def _own_metrics(rules: Sequence[Rule], classes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        family, _, own = rule.metric.partition(":")
        if family == "python":
            try:
                function_of(own)
            except MonitorError as error:
                yield "problem", f"rule {rule.name} decides nothing: {error}"
            else:
                yield "ok", f"rule {rule.name}: {own} can be called"
        if family == "evidently":
            from monitors.windows.evidently_adapter import tried  # several seconds of import: only such rules pay it

            try:
                tried(own, rule.params, rule.value, classes)
            except MonitorError as error:
                yield "problem", f"rule {rule.name} decides nothing: {error}"
            else:
                yield "ok", f"rule {rule.name}: Evidently's {own} gives a number"


def _processes(parts: Parts) -> Iterator[tuple[str, str]]:
    now = parts.clock()
    if not _tables_are_current(parts):
        yield "note", "not looked at: the database's tables are not those of this version"
        return
    with parts.database.read() as connection:
        name = parts.settings.pipeline
        alive = [beat for beat in leases.alive(connection, now - ALIVE, now + ALIVE) if beat.is_about(name)]
        leader = leases.holder(connection, leader_lease(parts.settings.pipeline), now)
        notices = outbox.undelivered(connection, name)
    for component in ("api", WATCHER):
        count = sum(beat.component == component for beat in alive)
        yield "ok" if count else "note", f"{count} {component} process(es) alive in the last {ALIVE.seconds} s"
    yield "ok" if leader else "note", f"leading watcher: {leader or 'none'}"
    for fault in clock_faults(parts):
        yield "problem", fault
    for beat in alive:
        if beat.component == "api" and beat.details.get("error"):
            yield "problem", f"API server {beat.instance} does not follow the champion: {beat.details['error']}"
    stuck = [each for each in notices if each.state == "failed" and each.next_attempt_at > now - RECENT]
    if stuck:
        yield "problem", f"{len(stuck)} notice(s) were given up: {stuck[0].channel}: {stuck[0].last_error}"
    late = [each for each in notices if each.state == "waiting" and each.last_error and each.created_at < now - LATE]
    if late:
        yield "problem", f"{len(late)} notice(s) wait for receivers: {late[0].channel}: {late[0].last_error}"


def _labels(parts: Parts) -> Iterator[tuple[str, str]]:
    try:
        current = _tables_are_current(parts)
    except StoreUnavailableError:
        yield "note", "not looked at: the database is away"
        return
    if not current:
        yield "note", "not looked at: the database's tables are not those of this version"
        return
    name = parts.family.name
    with parts.database.read() as connection:
        standing = label_status(connection, name, parts.clock())
        last = last_judged(connection, name)
        stopped = tasks.open_tasks(connection, name, "review-retraining")
    said = in_words(standing)
    starved = last is not None and not last.promoted and starved_by(last.verdict)
    for sentence in said:
        yield "problem" if starved and sentence.endswith(standing["last_retraining"]) else "note", sentence
    for task in stopped:
        yield "problem", f"alerts start no more retrainings: {' '.join(task.details.get('why', ()))}"
    if not said and not stopped:
        yield "ok", "no label waits in vain, and none was set aside"


def _doors(parts: Parts) -> Iterator[tuple[str, str]]:
    settings = parts.settings
    if not settings.asks_for_keys:
        mark = "ok" if settings.host in LOOPBACK else "problem"
        yield mark, f"the API on {settings.host} asks nobody for a key (PLATFORM_AUTH={settings.auth})"
        return
    if not _tables_are_current(parts):
        yield "note", "keys not looked at: the database's tables are not those of this version"
        return
    working = sum(key["state"] == "works" for key in known_keys(parts))
    yield "ok" if working else "note", f"the API asks for keys; {working} work (`platform keys create` makes one)"


def _audit(parts: Parts) -> Iterator[tuple[str, str]]:
    try:
        if _tables_are_current(parts):
            yield from anchor_findings(parts)
        else:
            yield "note", "not looked at: the database's tables are not those of this version"
    except StoreUnavailableError:
        yield "note", "not looked at: the database is away"


def anchor_findings(parts: Parts) -> Iterator[tuple[str, str]]:
    """What the anchors say of the audit log's links; rows are looked at by `platform audit verify` alone."""
    path = checkpoints.file_of(parts)
    anchored, faults = checkpoints.examine(parts, path)
    with parts.database.read() as connection:
        faults += contradictions(connection, anchored)
    for fault in faults[:MOST_FAULTS]:
        yield "problem", fault
    if len(faults) > MOST_FAULTS:
        yield "problem", f"and {len(faults) - MOST_FAULTS} more; `platform audit verify` names all"
    count = sum(len(links) for links in anchored.links.values())
    if not count:
        yield "note", f"no anchors in {path}; the leading watcher writes them"
    elif not faults:
        yield "ok", f"{count} anchored links are in their chains; `platform audit verify` also looks at rows"


def _tables_are_current(parts: Parts) -> bool:
    """Whether `parts.database`, which creates and upgrades tables, would change none."""
    current, newest = Database(parts.settings.store_url).revision()
    return current == newest


MOST_FAULTS = 10
RECENT = timedelta(days=1)  # notices that were given up before are history
LATE = timedelta(minutes=10)  # notices that nobody took for so long are a receiver's fault
CHECKS: dict[str, Callable[[Parts], Iterator[tuple[str, str]]]] = {
    "settings": _settings,
    "disk": _disk,
    "files": _files,
    "recording": _recording,
    "database": _database,
    "mlflow": _mlflow,
    "rules": _rules,
    "model": _model,
    "processes": _processes,
    "labels": _labels,
    "doors": _doors,
    "audit": _audit,
}
