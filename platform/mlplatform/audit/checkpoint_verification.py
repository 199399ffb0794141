"""Anchors held against the chains in the database: which links are gone or are not those that stood there.

It reads links and recomputes those that are new; whether rows are what the links say is verified elsewhere.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, select

from mlplatform.audit import audit_entries, hash_chain, prediction_attestation
from mlplatform.audit.checkpoint_file import Checkpoint
from mlplatform.store.tables.audit import audit_log, prediction_attestations

BATCH_SIZE: Final = 500


@dataclass(frozen=True)
class CheckpointLink:
    """A link as an anchor has it."""

    number: int
    hash: str
    at: str


@dataclass
class CheckpointIndex:
    """Every link that anchors tell of, by chain and number, and which of them no key vouches for.

    A line with a good signature vouches for the lines before it.
    """

    links: dict[str, dict[int, CheckpointLink]] = field(default_factory=dict)
    conflicting_links: list[tuple[str, CheckpointLink]] = field(default_factory=list)
    unauthenticated: dict[str, str] = field(default_factory=dict)

    def add(self, checkpoint: Checkpoint) -> None:
        """Take an anchor in; two that contradict each other are both kept."""
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
        """Until when at the latest each entry of the log was written."""
        times = [
            (number, _parse_time(link.at)) for number, link in sorted(self.links.get(hash_chain.LOG_CHAIN, {}).items())
        ]
        return LatestWriteTimes([(number, at) for number, at in times if at is not None])


class LatestWriteTimes:
    """The moment at which an entry of the log was surely there, by the anchors."""

    def __init__(self, anchored: list[tuple[int, datetime]]) -> None:
        self._numbers = [number for number, _ in anchored]
        self._times = [at for _, at in anchored]
        for index in range(len(self._times) - 2, -1, -1):
            self._times[index] = min(self._times[index], self._times[index + 1])

    def latest_for(self, number: int) -> datetime | None:
        """None where no anchor is that new."""
        index = bisect_left(self._numbers, number)
        return self._times[index] if index < len(self._times) else None


def find_contradictions(connection: Connection, checkpoints: CheckpointIndex) -> list[str]:
    """What every anchor says that the chains do not: for each chain the first link gone and the first made anew."""
    faults = []
    for name, links in sorted(checkpoints.links.items()):
        told = [*links.values(), *(link for chain, link in checkpoints.conflicting_links if chain == name)]
        held = _stored_hashes(connection, name, links)
        gone = [link for link in told if link.number not in held]
        anew = [link for link in told if link.number in held and held[link.number] != link.hash]
        if anew:
            faults.append(_first_fault(name, anew, "is not the one of {at}: what came before was made anew"))
        if gone:
            faults.append(_first_fault(name, gone, "was there at {at} and is gone"))
    return faults


def find_new_link_faults(
    connection: Connection, latest_links: Mapping[str, CheckpointLink], heads: Mapping[str, hash_chain.ChainHead]
) -> list[str]:
    """What is wrong with the links since those that were anchored last; chains without an anchor are not looked at."""
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
    """Where the links after one do not follow from each other up to the head; empty where all do."""
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
        for kept in audit_entries.iter_entries(connection, after):
            assert kept.number is not None
            yield kept.number, kept.entry.hash_content(kept.number), kept.hash or ""
    else:
        for batch in prediction_attestation.iter_batches(connection, name, after):
            yield batch.number, batch.hash_content(), batch.hash


def _stored_hashes(connection: Connection, name: str, numbers: Iterable[int]) -> dict[int, str]:
    """The hashes of links in the database."""
    held: dict[int, str] = {}
    wanted = sorted(numbers)
    for start in range(0, len(wanted), BATCH_SIZE):
        part = wanted[start : start + BATCH_SIZE]
        if name == hash_chain.LOG_CHAIN:
            query = select(audit_log.c.number, audit_log.c.hash).where(audit_log.c.number.in_(part))
        else:
            query = select(prediction_attestations.c.number, prediction_attestations.c.hash).where(
                prediction_attestations.c.chain == name, prediction_attestations.c.number.in_(part)
            )
        held |= {row.number: row.hash for row in connection.execute(query)}
    return held


def _first_fault(name: str, links: list[CheckpointLink], words: str) -> str:
    first = min(links, key=lambda link: (link.number, link.at))
    more = f" ({len(links) - 1} more anchors say so)" if len(links) > 1 else ""
    return f"chain {name}: link {first.number} {words.format(at=first.at)}{more}"


def _parse_time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
