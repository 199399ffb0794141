"""The verification of the audit log: every link of every chain computed again, and held against rows and anchors.

It names what was changed, removed or put elsewhere; it mends nothing, and cannot know who did it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select

from mlplatform.audit import audit_entries, hash_chain, prediction_attestation
from mlplatform.audit.checkpoint_verification import CheckpointIndex, find_contradictions
from mlplatform.audit.checkpoints import Checkpoint, checkpoint_path, inspect_checkpoint_file, signing_keys
from mlplatform.audit.erasure_verification import ErasureClaims
from mlplatform.audit.row_verification import small_table_digests, verify_rows
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.host.control_characters import escape_controls
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.audit import prediction_attestations
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.timeouts import long_statements

MAX_FAULTS: Final = 1000
"""So many are named; all are counted."""


@dataclass
class VerificationReport:
    """What was verified, and what is wrong."""

    entries: int = 0
    batches: int = 0
    answers: int = 0
    erased: int = 0
    anchored: int = 0
    unchained: int = 0
    rows: int = 0
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def add_fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)

    @property
    def ok(self) -> bool:
        return self.fault_count == 0

    @property
    def text(self) -> str:
        """The report in words, a line for each fault that is named."""
        seen = (
            f"{self.entries} entries, {self.batches} batches with {self.answers} predictions, {self.erased} erased on "
            f"purpose, {self.anchored} anchored heads, {self.unchained} predictions in no batch, "
            f"{self.rows} labels, promotions, keys and quarantines"
        )
        result = "sound" if self.ok else f"{self.fault_count} faults"
        return "\n".join([seen, *map(escape_controls, self.faults), result])


@dataclass(frozen=True)
class _LogContents:
    """What the log's entries say: which chains began, what was erased or written, what is older than every batch."""

    opened_chains: frozenset[str]
    claims: ErasureClaims
    rows: dict[str, str]
    unbatched_at_start: int


def verify_audit_log(
    database: Database, checkpoints: Iterable[Checkpoint] = (), *, signed: bool = False, now: datetime | None = None
) -> VerificationReport:
    """Verify everything, in one snapshot. With `signed`, an anchor without the key's word is a fault."""
    anchored = CheckpointIndex()
    for anchor in checkpoints:
        anchored.add(anchor)
    return verify_with_checkpoints(database, anchored, signed=signed, now=now or utc_now())


def verify_with_checkpoint_file(context: AppContext, copy: Path | None = None) -> VerificationReport:
    """Verify everything against the file of anchors that is kept here, or against a copy of one."""
    anchored, faults = inspect_checkpoint_file(context, copy or checkpoint_path(context), copy=copy is not None)
    report = verify_with_checkpoints(
        context.database, anchored, signed=bool(signing_keys(context)), now=context.clock()
    )
    for fault in faults:
        report.add_fault(fault)
    return report


@long_statements()
def verify_with_checkpoints(
    database: Database, checkpoints: CheckpointIndex, *, signed: bool, now: datetime
) -> VerificationReport:
    """Verify everything against links that were anchored."""
    report = VerificationReport()
    with database.read() as connection:
        heads = {head.name: head for head in hash_chain.list_heads(connection)}
        known = _verify_log(
            connection, heads.get(hash_chain.LOG_CHAIN), ErasureClaims(now, checkpoints.latest_times()), report
        )
        seen = _verify_batches(connection, heads, known, report)
        known.claims.check_totals(report.add_fault)
        for name in sorted(known.opened_chains - seen):
            report.add_fault(f"chain {name}: its birth is in the audit log, and all its batches are gone")
        _check_unchained_predictions(connection, known, report)
        report.rows = verify_rows(connection, known.rows, known.claims.entry_by_prediction, report.add_fault)
        if signed:
            for name, at in sorted(checkpoints.unauthenticated.items()):
                report.add_fault(f"anchor of {at} for chain {name}: the key does not vouch for it")
        for fault in find_contradictions(connection, checkpoints):
            report.add_fault(fault)
        report.anchored = len(checkpoints.links)
    return report


def _verify_log(
    connection: Connection, head: hash_chain.ChainHead | None, claims: ErasureClaims, report: VerificationReport
) -> _LogContents:
    number, previous = 0, hash_chain.genesis_hash(hash_chain.LOG_CHAIN)
    opened, rows, older = set(), dict[str, str](), 0
    for kept in audit_entries.iter_entries(connection):
        entry, told = kept.entry, f"{kept.entry.action} {kept.entry.subject} by {kept.entry.actor}"
        if kept.number is None or kept.hash is None:
            report.add_fault(
                f"audit log: entry seq {kept.seq} ({told}) is in no chain: it was not written by this product"
            )
            continue
        sound = _check_sequence(report, "audit log: entry", number, kept.number)
        if sound and hash_chain.next_hash(previous, entry.hash_content(kept.number)) != kept.hash:
            report.add_fault(f"audit log: entry {kept.number} ({told}, {entry.at:%F %T}) is not what was written")
        number, previous = kept.number, kept.hash
        report.entries += 1
        details: object = entry.details  # whoever writes past the platform may write anything
        if not isinstance(details, dict):
            report.add_fault(f"audit log: entry {kept.number} ({told}) has details that this product does not write")
        elif entry.action == prediction_attestation.OPEN_CHAIN_ACTION:
            opened.add(entry.subject.removeprefix("chain/"))
        elif entry.action == audit_entries.ERASE_ACTION:
            claims.add(kept, report.add_fault)
        elif entry.action == "begin-chain":
            count = details.get("predictions", 0)
            if kept.number == 1 and isinstance(count, int):
                older = count
            else:  # it would let so many predictions be in no batch
                report.add_fault(f"audit log: entry {kept.number} ({told}) begins a log that had begun")
        else:
            rows |= small_table_digests(details)
    _check_head(report, "audit log: entry", number, previous, head)
    return _LogContents(frozenset(opened), claims, rows, older)


def _verify_batches(
    connection: Connection,
    heads: Mapping[str, hash_chain.ChainHead],
    log_contents: _LogContents,
    report: VerificationReport,
) -> set[str]:
    name, number, previous = "", 0, ""
    seen: set[str] = set()
    for batch in prediction_attestation.iter_batches(connection):
        if batch.chain != name:
            if name:
                _check_head(report, f"chain {name}: batch", number, previous, heads.get(name))
            name, number, previous = batch.chain, 0, hash_chain.genesis_hash(batch.chain)
            seen.add(name)
            if name not in log_contents.opened_chains:
                report.add_fault(f"chain {name}: its birth is not in the audit log")
        sound = _check_sequence(report, f"chain {name}: batch", number, batch.number)
        if sound and hash_chain.next_hash(previous, batch.hash_content()) != batch.hash:
            report.add_fault(f"chain {name}: batch {batch.number} ({batch.at:%F %T}) is not what was written")
        number, previous = batch.number, batch.hash
        report.batches += 1
        if name != hash_chain.ROW_CHAIN:
            _verify_predictions(connection, batch, log_contents, report)
    if name:
        _check_head(report, f"chain {name}: batch", number, previous, heads.get(name))
    for gone in sorted(set(heads) - seen - {hash_chain.LOG_CHAIN} - log_contents.opened_chains):
        report.add_fault(f"chain {gone}: it has a head and no batches")
    return seen


def _verify_predictions(
    connection: Connection,
    batch: prediction_attestation.AttestationBatch,
    log_contents: _LogContents,
    report: VerificationReport,
) -> None:
    rows = connection.execute(select(predictions).where(predictions.c.id.in_(list(batch.digests))))
    held = {row.id: PredictionRecord(**row._mapping) for row in rows}
    missing = []
    for key, digest in batch.digests.items():
        if key not in held:
            missing.append(key)
            continue
        report.answers += 1
        if not prediction_attestation.matches_digest(digest, held[key]):
            report.add_fault(f"prediction {key} is not what was recorded (chain {batch.chain}, batch {batch.number})")
    if missing:
        report.erased += log_contents.claims.count_erased(connection, missing, batch, report.add_fault)


def _check_unchained_predictions(
    connection: Connection, log_contents: _LogContents, report: VerificationReport
) -> None:
    """Predictions in no batch: those from before the first one, and those that no server recorded."""
    total = connection.scalar(select(func.count()).select_from(predictions)) or 0
    report.unchained = max(0, total - report.answers)
    if report.unchained <= log_contents.unbatched_at_start:
        return
    chained = {key for batch in prediction_attestation.iter_batches(connection) for key in batch.digests}
    first = connection.scalar(
        select(func.min(prediction_attestations.c.oldest)).where(
            prediction_attestations.c.chain != hash_chain.ROW_CHAIN
        )
    )
    query = select(predictions.c.id, predictions.c.at).order_by(predictions.c.id)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        if row.id not in chained and (not log_contents.unbatched_at_start or first is None or row.at >= first):
            report.add_fault(f"prediction {row.id} was recorded by no server: it is in no batch")


def _check_sequence(report: VerificationReport, what: str, number: int, following: int) -> bool:
    """Whether a link comes next; what lies between is gone."""
    if following == number + 1:
        return True
    gone = f"{number + 1}" if following == number + 2 else f"{number + 1} to {following - 1}"
    report.add_fault(f"{what} {gone} was removed")
    return False


def _check_head(
    report: VerificationReport, what: str, number: int, hashed: str, head: hash_chain.ChainHead | None
) -> None:
    if head is None:
        if number:
            report.add_fault(f"{what} {number} is the last, and the chain's head is gone")
    elif head.number > number:
        report.add_fault(f"{what} {number + 1} to {head.number} at the end was removed")
    elif (head.number, head.hash) != (number, hashed):
        report.add_fault(f"{what} {number} is the last, and the chain's head says otherwise")
