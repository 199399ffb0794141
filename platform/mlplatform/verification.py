"""The verification of the audit log: every link of every chain computed again, and held against rows and anchors.

It names what was changed, removed or put elsewhere; it mends nothing, and cannot know who did it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from mlplatform.anchors import Anchor, newest
from mlplatform.store import audit, batches, chains
from mlplatform.store.database import Database
from mlplatform.store.patience import unhurried
from mlplatform.store.predictions import Prediction
from mlplatform.store.schema import audit_log, predictions
from mlplatform.store.schema_doors import audit_batches

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
            f"purpose, {self.anchored} anchored heads, {self.unchained} predictions in no batch"
        )
        return "\n".join([seen, *self.faults, "sound" if self.sound else f"{self.fault_count} faults"])


@dataclass(frozen=True)
class _Known:
    """What the log's own entries say: which chains began, what was erased, what is older than every batch."""

    opened: frozenset[str]
    erased_before: datetime | None
    erased_ids: frozenset[str]
    older: int


@unhurried()
def verify(database: Database, anchors: Iterable[Anchor] = (), *, signed: bool = False) -> Report:
    """Verify everything, in one snapshot. With `signed`, an anchor without the key's word is a fault."""
    report = Report()
    with database.read() as connection:
        heads = {head.name: head for head in chains.heads(connection)}
        known = _log(connection, heads.get(chains.LOG), report)
        found = _batches(connection, heads, known, report)
        for name in sorted(known.opened - found):
            report.fault(f"chain {name}: its birth is in the audit log, and all its batches are gone")
        _strangers(connection, known, report)
        _anchors(connection, newest(list(anchors)), report, signed=signed)
    return report


def _log(connection: Connection, head: chains.Head | None, report: Report) -> _Known:
    number, previous = 0, chains.genesis(chains.LOG)
    opened, ids, before, older = set(), set(), None, 0
    for kept in audit.chain(connection):
        entry, told = kept.entry, f"{kept.entry.action} {kept.entry.subject} by {kept.entry.actor}"
        if kept.number is None or kept.hash is None:
            report.fault(f"audit log: entry seq {kept.seq} ({told}) is in no chain: it was not written by this product")
            continue
        sound = _follows(report, "audit log: entry", number, kept.number)
        if sound and chains.link(previous, entry.content(kept.number)) != kept.hash:
            report.fault(f"audit log: entry {kept.number} ({told}, {entry.at:%F %T}) is not what was written")
        number, previous = kept.number, kept.hash
        report.entries += 1
        if entry.action == batches.OPEN:
            opened.add(entry.subject.removeprefix("chain/"))
        elif entry.action == audit.ERASE:
            ids.update(entry.details.get("ids", ()))
            moment = entry.details.get("before")
            before = max(filter(None, (before, moment and datetime.fromisoformat(moment))), default=None)
        elif entry.action == "begin-chain":
            older = int(entry.details.get("predictions", 0))
    _ends(report, "audit log: entry", number, previous, head)
    return _Known(frozenset(opened), before, frozenset(ids), older)


def _batches(connection: Connection, heads: Mapping[str, chains.Head], known: _Known, report: Report) -> set[str]:
    name, number, previous = "", 0, ""
    found: set[str] = set()
    for batch in batches.chain(connection):
        if batch.chain != name:
            if name:
                _ends(report, f"chain {name}: batch", number, previous, heads.get(name))
            name, number, previous = batch.chain, 0, chains.genesis(batch.chain)
            found.add(name)
            if name not in known.opened:
                report.fault(f"chain {name}: its birth is not in the audit log")
        sound = _follows(report, f"chain {name}: batch", number, batch.number)
        if sound and chains.link(previous, batch.content()) != batch.hash:
            report.fault(f"chain {name}: batch {batch.number} ({batch.at:%F %T}) is not what was written")
        number, previous = batch.number, batch.hash
        report.batches += 1
        _answers(connection, batch, known, report)
    if name:
        _ends(report, f"chain {name}: batch", number, previous, heads.get(name))
    for gone in sorted(set(heads) - found - {chains.LOG} - known.opened):
        report.fault(f"chain {gone}: it has a head and no batches")
    return found


def _answers(connection: Connection, batch: batches.Batch, known: _Known, report: Report) -> None:
    rows = connection.execute(select(predictions).where(predictions.c.id.in_(list(batch.leaves))))
    held = {row.id: batches.digest(Prediction(**row._mapping)) for row in rows}
    lawful = known.erased_before is not None and batch.oldest < known.erased_before
    for key, digest in batch.leaves.items():
        if key in held:
            report.answers += 1
            if held[key] != digest:
                report.fault(f"prediction {key} is not what was recorded (chain {batch.chain}, batch {batch.number})")
        elif lawful or key in known.erased_ids:
            report.erased += 1
        else:
            report.fault(f"prediction {key} was removed (chain {batch.chain}, batch {batch.number})")


def _strangers(connection: Connection, known: _Known, report: Report) -> None:
    """Predictions in no batch: those from before the first one, and those that no server recorded."""
    total = connection.scalar(select(func.count()).select_from(predictions)) or 0
    report.unchained = max(0, total - report.answers)
    if report.unchained <= known.older:
        return
    chained = {key for batch in batches.chain(connection) for key in batch.leaves}
    first = connection.scalar(select(func.min(audit_batches.c.oldest)))
    query = select(predictions.c.id, predictions.c.at).order_by(predictions.c.id)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        if row.id not in chained and (not known.older or first is None or row.at >= first):
            report.fault(f"prediction {row.id} was recorded by no server: it is in no batch")


def _anchors(connection: Connection, newest: Mapping[str, Anchor], report: Report, *, signed: bool) -> None:
    for name, anchor in sorted(newest.items()):
        number, hashed = anchor.heads[name]
        if signed and not anchor.proved:
            report.fault(f"anchor of {anchor.at} for chain {name}: the key does not vouch for it")
            continue
        if name == chains.LOG:
            query = select(audit_log.c.hash).where(audit_log.c.number == number)
        else:
            query = select(audit_batches.c.hash).where(audit_batches.c.chain == name, audit_batches.c.number == number)
        held = connection.scalar(query)
        if held is None:
            report.fault(f"chain {name}: link {number} was there at {anchor.at} and is gone")
        elif held != hashed:
            report.fault(f"chain {name}: link {number} is not the one of {anchor.at}: what came before was made anew")
        report.anchored += 1


def _follows(report: Report, what: str, number: int, following: int) -> bool:
    """Whether a link comes next; what lies between is gone."""
    if following == number + 1:
        return True
    gone = f"{number + 1}" if following == number + 2 else f"{number + 1} to {following - 1}"
    report.fault(f"{what} {gone} was removed")
    return False


def _ends(report: Report, what: str, number: int, hashed: str, head: chains.Head | None) -> None:
    if head is None:
        if number:
            report.fault(f"{what} {number} is the last, and the chain's head is gone")
    elif head.number > number:
        report.fault(f"{what} {number + 1} to {head.number} at the end was removed")
    elif (head.number, head.hash) != (number, hashed):
        report.fault(f"{what} {number} is the last, and the chain's head says otherwise")
