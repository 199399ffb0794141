"""Verifies the audit log: recomputes every link of every chain and checks it against rows and checkpoints.

The report names what was changed, removed or put elsewhere; who did it cannot be known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from mlplatform.audit import audit_entries, hash_chain, prediction_attestation
from mlplatform.audit.checkpoint_verification import CheckpointIndex, find_contradictions
from mlplatform.audit.checkpoints import checkpoint_path, inspect_checkpoint_file, signing_keys
from mlplatform.audit.erasure_verification import ErasureClaims
from mlplatform.audit.row_verification import small_table_digests, verify_rows
from mlplatform.audit.verification_report import VerificationReport
from mlplatform.context import AppContext
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.audit import prediction_attestations
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.timeouts import long_statements


@dataclass(frozen=True)
class _LogContents:
    """What the log's entries say: chains that began, erasures, rows written, predictions before every batch."""

    opened_chains: frozenset[str]
    claims: ErasureClaims
    rows: dict[str, str]
    unbatched_at_start: int


def verify_with_checkpoint_file(context: AppContext, copy: Path | None = None) -> VerificationReport:
    """Verify everything against the checkpoint file that is kept here, or against a copy of one."""
    index, faults = inspect_checkpoint_file(context, copy or checkpoint_path(context), copy=copy is not None)
    report = verify_with_checkpoints(context.database, index, signed=bool(signing_keys(context)), now=context.clock())
    for fault in faults:
        report.add_fault(fault)
    return report


@long_statements()
def verify_with_checkpoints(
    database: Database, checkpoints: CheckpointIndex, *, signed: bool, now: datetime
) -> VerificationReport:
    """Verify everything against the links in checkpoints."""
    report = VerificationReport()
    with database.read() as connection:
        # 1. The log's own chain; its entries say what to expect of everything else.
        heads = {head.name: head for head in hash_chain.list_heads(connection)}
        log_contents = _verify_log(
            connection, heads.get(hash_chain.LOG_CHAIN), ErasureClaims(now, checkpoints.latest_times()), report
        )

        # 2. The servers' chains with their predictions, and predictions in no chain.
        chains = _verify_batches(connection, heads, log_contents, report)
        log_contents.claims.check_totals(report.add_fault)
        for name in sorted(log_contents.opened_chains - chains):
            report.add_fault(f"chain {name}: its birth is in the audit log, and all its batches are gone")
        _check_unchained_predictions(connection, log_contents, report)

        # 3. Labels, promotions, keys and quarantines.
        erased = log_contents.claims.entry_by_prediction
        report.rows = verify_rows(connection, log_contents.rows, erased, report.add_fault)

        # 4. The checkpoints outside the database.
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
    """Verify the chain of the log's entries; returns what the entries say."""
    number, previous = 0, hash_chain.genesis_hash(hash_chain.LOG_CHAIN)
    opened_chains, rows, unbatched_at_start = set(), dict[str, str](), 0
    for stored in audit_entries.iter_entries(connection):
        entry, act = stored.entry, f"{stored.entry.action} {stored.entry.subject} by {stored.entry.actor}"
        if stored.number is None or stored.hash is None:
            report.add_fault(
                f"audit log: entry seq {stored.seq} ({act}) is in no chain: it was not written by this product"
            )
            continue
        follows = _check_sequence(report, "audit log: entry", number, stored.number)
        if follows and hash_chain.next_hash(previous, entry.hash_content(stored.number)) != stored.hash:
            report.add_fault(f"audit log: entry {stored.number} ({act}, {entry.at:%F %T}) is not what was written")
        number, previous = stored.number, stored.hash
        report.entries += 1
        details: object = entry.details  # whoever writes past the platform may write anything
        if not isinstance(details, dict):
            report.add_fault(f"audit log: entry {stored.number} ({act}) has details that this product does not write")
        elif entry.action == prediction_attestation.OPEN_CHAIN_ACTION:
            opened_chains.add(entry.subject.removeprefix("chain/"))
        elif entry.action == audit_entries.ERASE_ACTION:
            claims.add(stored, report.add_fault)
        elif entry.action == "begin-chain":
            count = details.get("predictions", 0)
            if stored.number == 1 and isinstance(count, int):
                unbatched_at_start = count
            else:  # it would let so many predictions be in no batch
                report.add_fault(f"audit log: entry {stored.number} ({act}) begins a log that had begun")
        else:
            rows |= small_table_digests(details)
    _check_head(report, "audit log: entry", number, previous, head)
    return _LogContents(frozenset(opened_chains), claims, rows, unbatched_at_start)


def _verify_batches(
    connection: Connection,
    heads: Mapping[str, hash_chain.ChainHead],
    log_contents: _LogContents,
    report: VerificationReport,
) -> set[str]:
    """Verify the servers' chains and the predictions in their batches; returns the names of the chains."""
    name, number, previous = "", 0, ""
    chains: set[str] = set()
    for batch in prediction_attestation.iter_batches(connection):
        if batch.chain != name:
            if name:
                _check_head(report, f"chain {name}: batch", number, previous, heads.get(name))
            name, number, previous = batch.chain, 0, hash_chain.genesis_hash(batch.chain)
            chains.add(name)
            if name not in log_contents.opened_chains:
                report.add_fault(f"chain {name}: its birth is not in the audit log")
        follows = _check_sequence(report, f"chain {name}: batch", number, batch.number)
        if follows and hash_chain.next_hash(previous, batch.hash_content()) != batch.hash:
            report.add_fault(f"chain {name}: batch {batch.number} ({batch.at:%F %T}) is not what was written")
        number, previous = batch.number, batch.hash
        report.batches += 1
        if name != hash_chain.ROW_CHAIN:
            _verify_predictions(connection, batch, log_contents, report)
    if name:
        _check_head(report, f"chain {name}: batch", number, previous, heads.get(name))
    for empty_chain in sorted(set(heads) - chains - {hash_chain.LOG_CHAIN} - log_contents.opened_chains):
        report.add_fault(f"chain {empty_chain}: it has a head and no batches")
    return chains


def _verify_predictions(
    connection: Connection,
    batch: prediction_attestation.AttestationBatch,
    log_contents: _LogContents,
    report: VerificationReport,
) -> None:
    rows = connection.execute(select(predictions).where(predictions.c.id.in_(list(batch.digests))))
    stored = {row.id: PredictionRecord(**row._mapping) for row in rows}
    missing = []
    for prediction_id, digest in batch.digests.items():
        if prediction_id not in stored:
            missing.append(prediction_id)
            continue
        report.answers += 1
        if not prediction_attestation.matches_digest(digest, stored[prediction_id]):
            report.add_fault(
                f"prediction {prediction_id} is not what was recorded (chain {batch.chain}, batch {batch.number})"
            )
    if missing:
        report.erased += log_contents.claims.count_erased(connection, missing, batch, report.add_fault)


def _check_unchained_predictions(
    connection: Connection, log_contents: _LogContents, report: VerificationReport
) -> None:
    """Report predictions in no batch, except as many as there were before the first one."""
    total = connection.scalar(select(func.count()).select_from(predictions)) or 0
    report.unchained = max(0, total - report.answers)
    if report.unchained <= log_contents.unbatched_at_start:
        return
    chained = {
        prediction_id for batch in prediction_attestation.iter_batches(connection) for prediction_id in batch.digests
    }
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
    """Whether a link comes next; what lies between was removed, and is reported."""
    if following == number + 1:
        return True
    missing = f"{number + 1}" if following == number + 2 else f"{number + 1} to {following - 1}"
    report.add_fault(f"{what} {missing} was removed")
    return False


def _check_head(
    report: VerificationReport, what: str, number: int, link_hash: str, head: hash_chain.ChainHead | None
) -> None:
    """Report where the last link of a chain is not the one that its head names."""
    if head is None:
        if number:
            report.add_fault(f"{what} {number} is the last, and the chain's head is gone")
    elif head.number > number:
        report.add_fault(f"{what} {number + 1} to {head.number} at the end was removed")
    elif (head.number, head.hash) != (number, link_hash):
        report.add_fault(f"{what} {number} is the last, and the chain's head says otherwise")
