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
from mlplatform.audit.checkpoint_verification import Anchored, contradictions
from mlplatform.audit.checkpoints import Anchor, examine, file_of, keys_of
from mlplatform.audit.erasure_verification import ErasureClaims
from mlplatform.audit.row_verification import small_rows, verify_rows
from mlplatform.clock import utc_now
from mlplatform.context import Parts
from mlplatform.host.control_characters import escape_controls
from mlplatform.store.database import Database
from mlplatform.store.prediction import Prediction
from mlplatform.store.tables.auth import audit_batches
from mlplatform.store.tables.core import predictions
from mlplatform.store.timeouts import unhurried

MOST_FAULTS: Final = 1000
"""So many are named; all are counted."""


@dataclass
class Report:
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

    def fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(text)

    @property
    def sound(self) -> bool:
        return self.fault_count == 0

    @property
    def text(self) -> str:
        """The report in words, a line for each fault that is named."""
        seen = (
            f"{self.entries} entries, {self.batches} batches with {self.answers} predictions, {self.erased} erased on "
            f"purpose, {self.anchored} anchored heads, {self.unchained} predictions in no batch, "
            f"{self.rows} labels, promotions, keys and quarantines"
        )
        result = "sound" if self.sound else f"{self.fault_count} faults"
        return "\n".join([seen, *map(escape_controls, self.faults), result])


@dataclass(frozen=True)
class _Known:
    """What the log's entries say: which chains began, what was erased or written, what is older than every batch."""

    opened: frozenset[str]
    claims: ErasureClaims
    rows: dict[str, str]
    older: int


def verify(
    database: Database, anchors: Iterable[Anchor] = (), *, signed: bool = False, now: datetime | None = None
) -> Report:
    """Verify everything, in one snapshot. With `signed`, an anchor without the key's word is a fault."""
    anchored = Anchored()
    for anchor in anchors:
        anchored.add(anchor)
    return verify_against(database, anchored, signed=signed, now=now or utc_now())


def verify_at_home(parts: Parts, copy: Path | None = None) -> Report:
    """Verify everything against the file of anchors that is kept here, or against a copy of one."""
    anchored, faults = examine(parts, copy or file_of(parts), copy=copy is not None)
    report = verify_against(parts.database, anchored, signed=bool(keys_of(parts)), now=parts.clock())
    for fault in faults:
        report.fault(fault)
    return report


@unhurried()
def verify_against(database: Database, anchored: Anchored, *, signed: bool, now: datetime) -> Report:
    """Verify everything against links that were anchored."""
    report = Report()
    with database.read() as connection:
        heads = {head.name: head for head in hash_chain.heads(connection)}
        known = _log(connection, heads.get(hash_chain.LOG), ErasureClaims(now, anchored.latest_times()), report)
        seen = _batches(connection, heads, known, report)
        known.claims.close(report.fault)
        for name in sorted(known.opened - seen):
            report.fault(f"chain {name}: its birth is in the audit log, and all its batches are gone")
        _strangers(connection, known, report)
        report.rows = verify_rows(connection, known.rows, known.claims.ids, report.fault)
        if signed:
            for name, at in sorted(anchored.unproved.items()):
                report.fault(f"anchor of {at} for chain {name}: the key does not vouch for it")
        for fault in contradictions(connection, anchored):
            report.fault(fault)
        report.anchored = len(anchored.links)
    return report


def _log(connection: Connection, head: hash_chain.Head | None, claims: ErasureClaims, report: Report) -> _Known:
    number, previous = 0, hash_chain.genesis(hash_chain.LOG)
    opened, rows, older = set(), dict[str, str](), 0
    for kept in audit_entries.chain(connection):
        entry, told = kept.entry, f"{kept.entry.action} {kept.entry.subject} by {kept.entry.actor}"
        if kept.number is None or kept.hash is None:
            report.fault(f"audit log: entry seq {kept.seq} ({told}) is in no chain: it was not written by this product")
            continue
        sound = _follows(report, "audit log: entry", number, kept.number)
        if sound and hash_chain.link(previous, entry.content(kept.number)) != kept.hash:
            report.fault(f"audit log: entry {kept.number} ({told}, {entry.at:%F %T}) is not what was written")
        number, previous = kept.number, kept.hash
        report.entries += 1
        details: object = entry.details  # whoever writes past the platform may write anything
        if not isinstance(details, dict):
            report.fault(f"audit log: entry {kept.number} ({told}) has details that this product does not write")
        elif entry.action == prediction_attestation.OPEN:
            opened.add(entry.subject.removeprefix("chain/"))
        elif entry.action == audit_entries.ERASE:
            claims.take(kept, report.fault)
        elif entry.action == "begin-chain":
            count = details.get("predictions", 0)
            if kept.number == 1 and isinstance(count, int):
                older = count
            else:  # it would let so many predictions be in no batch
                report.fault(f"audit log: entry {kept.number} ({told}) begins a log that had begun")
        else:
            rows |= small_rows(details)
    _ends(report, "audit log: entry", number, previous, head)
    return _Known(frozenset(opened), claims, rows, older)


def _batches(connection: Connection, heads: Mapping[str, hash_chain.Head], known: _Known, report: Report) -> set[str]:
    name, number, previous = "", 0, ""
    seen: set[str] = set()
    for batch in prediction_attestation.chain(connection):
        if batch.chain != name:
            if name:
                _ends(report, f"chain {name}: batch", number, previous, heads.get(name))
            name, number, previous = batch.chain, 0, hash_chain.genesis(batch.chain)
            seen.add(name)
            if name not in known.opened:
                report.fault(f"chain {name}: its birth is not in the audit log")
        sound = _follows(report, f"chain {name}: batch", number, batch.number)
        if sound and hash_chain.link(previous, batch.content()) != batch.hash:
            report.fault(f"chain {name}: batch {batch.number} ({batch.at:%F %T}) is not what was written")
        number, previous = batch.number, batch.hash
        report.batches += 1
        if name != hash_chain.ROWS:
            _answers(connection, batch, known, report)
    if name:
        _ends(report, f"chain {name}: batch", number, previous, heads.get(name))
    for gone in sorted(set(heads) - seen - {hash_chain.LOG} - known.opened):
        report.fault(f"chain {gone}: it has a head and no batches")
    return seen


def _answers(connection: Connection, batch: prediction_attestation.Batch, known: _Known, report: Report) -> None:
    rows = connection.execute(select(predictions).where(predictions.c.id.in_(list(batch.leaves))))
    held = {row.id: Prediction(**row._mapping) for row in rows}
    missing = []
    for key, digest in batch.leaves.items():
        if key not in held:
            missing.append(key)
            continue
        report.answers += 1
        if not prediction_attestation.is_digest(digest, held[key]):
            report.fault(f"prediction {key} is not what was recorded (chain {batch.chain}, batch {batch.number})")
    if missing:
        report.erased += known.claims.judge(connection, missing, batch, report.fault)


def _strangers(connection: Connection, known: _Known, report: Report) -> None:
    """Predictions in no batch: those from before the first one, and those that no server recorded."""
    total = connection.scalar(select(func.count()).select_from(predictions)) or 0
    report.unchained = max(0, total - report.answers)
    if report.unchained <= known.older:
        return
    chained = {key for batch in prediction_attestation.chain(connection) for key in batch.leaves}
    first = connection.scalar(select(func.min(audit_batches.c.oldest)).where(audit_batches.c.chain != hash_chain.ROWS))
    query = select(predictions.c.id, predictions.c.at).order_by(predictions.c.id)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        if row.id not in chained and (not known.older or first is None or row.at >= first):
            report.fault(f"prediction {row.id} was recorded by no server: it is in no batch")


def _follows(report: Report, what: str, number: int, following: int) -> bool:
    """Whether a link comes next; what lies between is gone."""
    if following == number + 1:
        return True
    gone = f"{number + 1}" if following == number + 2 else f"{number + 1} to {following - 1}"
    report.fault(f"{what} {gone} was removed")
    return False


def _ends(report: Report, what: str, number: int, hashed: str, head: hash_chain.Head | None) -> None:
    if head is None:
        if number:
            report.fault(f"{what} {number} is the last, and the chain's head is gone")
    elif head.number > number:
        report.fault(f"{what} {number + 1} to {head.number} at the end was removed")
    elif (head.number, head.hash) != (number, hashed):
        report.fault(f"{what} {number} is the last, and the chain's head says otherwise")
