"""Checks the hash chains in the database against checkpoints: which links are gone, and which were replaced.

It recomputes only links that are newer than the last checkpoint; `verification` checks that rows are what links say.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, select

from mlplatform.audit import audit_entries, hash_chain, prediction_attestation
from mlplatform.audit.checkpoint_file import Checkpoint
from mlplatform.audit.verification_report import BATCH_SIZE, parse_time
from mlplatform.store.tables.audit import audit_log, prediction_attestations


@dataclass(frozen=True)
class CheckpointLink:
    """A link as a checkpoint has it."""

    number: int
    hash: str
    at: str


@dataclass
class CheckpointIndex:
    """Every link in checkpoints, by chain and number, and which of the newest no key authenticates.

    A line with a good signature authenticates the lines before it.
    """

    links: dict[str, dict[int, CheckpointLink]] = field(default_factory=dict)
    conflicting_links: list[tuple[str, CheckpointLink]] = field(default_factory=list)
    unauthenticated: dict[str, str] = field(default_factory=dict)

    def add(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint; two that contradict each other are both kept."""
        if checkpoint.authenticated:
            self.unauthenticated.clear()
        for name, (number, digest) in checkpoint.heads.items():
            link = CheckpointLink(number, digest, checkpoint.at)
            if self.links.setdefault(name, {}).setdefault(number, link).hash != digest:
                self.conflicting_links.append((name, link))
            if not checkpoint.authenticated:
                self.unauthenticated[name] = checkpoint.at

    def latest_links(self) -> dict[str, CheckpointLink]:
        """The last link of each chain."""
        return {name: links[max(links)] for name, links in self.links.items()}

    def latest_times(self) -> "LatestWriteTimes":
        """The latest moment at which each entry of the log can have been written."""
        times = [
            (number, parse_time(link.at)) for number, link in sorted(self.links.get(hash_chain.LOG_CHAIN, {}).items())
        ]
        return LatestWriteTimes([(number, at) for number, at in times if at is not None])


class LatestWriteTimes:
    """The moment by which an entry of the log was there, as checkpoints show it."""

    def __init__(self, checkpointed: list[tuple[int, datetime]]) -> None:
        self._numbers = [number for number, _ in checkpointed]
        self._times = [at for _, at in checkpointed]
        for index in range(len(self._times) - 2, -1, -1):
            self._times[index] = min(self._times[index], self._times[index + 1])

    def latest_for(self, number: int) -> datetime | None:
        """By when an entry of this number was there; None where no checkpoint is that new."""
        index = bisect_left(self._numbers, number)
        return self._times[index] if index < len(self._times) else None


def find_contradictions(connection: Connection, checkpoints: CheckpointIndex) -> list[str]:
    """Where chains contradict checkpoints: in each chain the first link that is gone and the first replaced."""
    faults = []
    for name, links in sorted(checkpoints.links.items()):
        expected = [*links.values(), *(link for chain, link in checkpoints.conflicting_links if chain == name)]
        stored = _stored_hashes(connection, name, links)
        missing = [link for link in expected if link.number not in stored]
        replaced = [link for link in expected if link.number in stored and stored[link.number] != link.hash]
        if replaced:
            faults.append(_first_fault(name, replaced, "is not the one of {at}: what came before was made anew"))
        if missing:
            faults.append(_first_fault(name, missing, "was there at {at} and is gone"))
    return faults


def find_new_link_faults(
    connection: Connection, latest_links: Mapping[str, CheckpointLink], heads: Mapping[str, hash_chain.ChainHead]
) -> list[str]:
    """What is wrong with the links since the newest checkpoint; chains without one are not checked."""
    faults = []
    for name, link in sorted(latest_links.items()):
        head = heads.get(name)
        if head is None or head.number < link.number:
            faults.append(f"chain {name}: link {link.number} was there at {link.at} and is gone")
        elif _stored_hashes(connection, name, [link.number]).get(link.number) != link.hash:
            faults.append(
                f"chain {name}: link {link.number} is not the one of {link.at}: what came before was made anew"
            )
        elif head.number > link.number and (fault := _sequence_fault(connection, name, link, head)):
            faults.append(f"chain {name}: {fault}")
        elif head.number == link.number and head.hash != link.hash:
            faults.append(f"chain {name}: the head is not link {link.number}, which it names")
    return faults


def _sequence_fault(connection: Connection, name: str, link: CheckpointLink, head: hash_chain.ChainHead) -> str:
    """Where the links after one do not follow from each other up to the head, in words; empty where all do."""
    number, previous = link.number, link.hash
    for following, content, digest in _iter_links(connection, name, link.number):
        if following != number + 1:
            return f"link {number + 1} was removed"
        if hash_chain.next_hash(previous, content) != digest:
            return f"link {following} is not what was written"
        number, previous = following, digest
        if number == head.number:
            break
    return "" if (number, previous) == (head.number, head.hash) else f"link {number} is the last, and the head differs"


def _iter_links(connection: Connection, name: str, after: int) -> Iterable[tuple[int, list[object], str]]:
    if name == hash_chain.LOG_CHAIN:
        for stored in audit_entries.iter_entries(connection, after):
            assert stored.number is not None
            yield stored.number, stored.entry.hash_content(stored.number), stored.hash or ""
    else:
        for batch in prediction_attestation.iter_batches(connection, name, after):
            yield batch.number, batch.hash_content(), batch.hash


def _stored_hashes(connection: Connection, name: str, numbers: Iterable[int]) -> dict[int, str]:
    """The hashes of links in the database."""
    hashes: dict[int, str] = {}
    sorted_numbers = sorted(numbers)
    for start in range(0, len(sorted_numbers), BATCH_SIZE):
        part = sorted_numbers[start : start + BATCH_SIZE]
        if name == hash_chain.LOG_CHAIN:
            query = select(audit_log.c.number, audit_log.c.hash).where(audit_log.c.number.in_(part))
        else:
            query = select(prediction_attestations.c.number, prediction_attestations.c.hash).where(
                prediction_attestations.c.chain == name, prediction_attestations.c.number.in_(part)
            )
        hashes |= {row.number: row.hash for row in connection.execute(query)}
    return hashes


def _first_fault(name: str, links: list[CheckpointLink], words: str) -> str:
    first = min(links, key=lambda link: (link.number, link.at))
    more = f" ({len(links) - 1} more anchors say so)" if len(links) > 1 else ""
    return f"chain {name}: link {first.number} {words.format(at=first.at)}{more}"
