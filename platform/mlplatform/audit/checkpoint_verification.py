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
from mlplatform.audit.checkpoint_file import Anchor
from mlplatform.store.tables.auth import audit_batches
from mlplatform.store.tables.core import audit_log

PORTION: Final = 500


@dataclass(frozen=True)
class Link:
    """A link as an anchor has it."""

    number: int
    hash: str
    at: str


@dataclass
class Anchored:
    """Every link that anchors tell of, by chain and number, and which of them no key vouches for.

    A line with a good signature vouches for the lines before it.
    """

    links: dict[str, dict[int, Link]] = field(default_factory=dict)
    others: list[tuple[str, Link]] = field(default_factory=list)
    unproved: dict[str, str] = field(default_factory=dict)

    def add(self, anchor: Anchor) -> None:
        """Take an anchor in; two that contradict each other are both kept."""
        if anchor.proved:
            self.unproved.clear()
        for name, (number, digest) in anchor.heads.items():
            link = Link(number, digest, anchor.at)
            if self.links.setdefault(name, {}).setdefault(number, link).hash != digest:
                self.others.append((name, link))
            if not anchor.proved:
                self.unproved[name] = anchor.at

    def newest(self) -> dict[str, Link]:
        """The last link of each chain."""
        return {name: links[max(links)] for name, links in self.links.items()}

    def latest_times(self) -> "LatestTimes":
        """Until when at the latest each entry of the log was written."""
        times = [(number, _time(link.at)) for number, link in sorted(self.links.get(hash_chain.LOG, {}).items())]
        return LatestTimes([(number, at) for number, at in times if at is not None])


class LatestTimes:
    """The moment at which an entry of the log was surely there, by the anchors."""

    def __init__(self, anchored: list[tuple[int, datetime]]) -> None:
        self._numbers = [number for number, _ in anchored]
        self._times = [at for _, at in anchored]
        for index in range(len(self._times) - 2, -1, -1):
            self._times[index] = min(self._times[index], self._times[index + 1])

    def of(self, number: int) -> datetime | None:
        """None where no anchor is that new."""
        index = bisect_left(self._numbers, number)
        return self._times[index] if index < len(self._times) else None


def contradictions(connection: Connection, anchored: Anchored) -> list[str]:
    """What every anchor says that the chains do not: for each chain the first link gone and the first made anew."""
    faults = []
    for name, links in sorted(anchored.links.items()):
        told = [*links.values(), *(link for chain, link in anchored.others if chain == name)]
        held = _held(connection, name, links)
        gone = [link for link in told if link.number not in held]
        anew = [link for link in told if link.number in held and held[link.number] != link.hash]
        if anew:
            faults.append(_first(name, anew, "is not the one of {at}: what came before was made anew"))
        if gone:
            faults.append(_first(name, gone, "was there at {at} and is gone"))
    return faults


def unfollowed(connection: Connection, newest: Mapping[str, Link], heads: Mapping[str, hash_chain.Head]) -> list[str]:
    """What is wrong with the links since those that were anchored last; chains without an anchor are not looked at."""
    faults = []
    for name, link in sorted(newest.items()):
        head = heads.get(name)
        if head is None or head.number < link.number:
            faults.append(f"chain {name}: link {link.number} was there at {link.at} and is gone")
        elif _held(connection, name, [link.number]).get(link.number) != link.hash:
            faults.append(
                f"chain {name}: link {link.number} is not the one of {link.at}: what came before was made anew"
            )
        elif head.number > link.number and (fault := _broken(connection, name, link, head)):
            faults.append(f"chain {name}: {fault}")
        elif head.number == link.number and head.hash != link.hash:
            faults.append(f"chain {name}: the head is not link {link.number}, which it names")
    return faults


def _broken(connection: Connection, name: str, link: Link, head: hash_chain.Head) -> str:
    """Where the links after one do not follow from each other up to the head; empty where all do."""
    number, previous = link.number, link.hash
    for following, content, digest in _contents(connection, name, link.number):
        if following != number + 1:
            return f"link {number + 1} was removed"
        if hash_chain.link(previous, content) != digest:
            return f"link {following} is not what was written"
        number, previous = following, digest
        if number == head.number:
            break
    return "" if (number, previous) == (head.number, head.hash) else f"link {number} is the last, and the head differs"


def _contents(connection: Connection, name: str, after: int) -> Iterable[tuple[int, list[object], str]]:
    if name == hash_chain.LOG:
        for kept in audit_entries.chain(connection, after):
            assert kept.number is not None
            yield kept.number, kept.entry.content(kept.number), kept.hash or ""
    else:
        for batch in prediction_attestation.chain(connection, name, after):
            yield batch.number, batch.content(), batch.hash


def _held(connection: Connection, name: str, numbers: Iterable[int]) -> dict[int, str]:
    """The hashes of links in the database."""
    held: dict[int, str] = {}
    wanted = sorted(numbers)
    for start in range(0, len(wanted), PORTION):
        part = wanted[start : start + PORTION]
        if name == hash_chain.LOG:
            query = select(audit_log.c.number, audit_log.c.hash).where(audit_log.c.number.in_(part))
        else:
            query = select(audit_batches.c.number, audit_batches.c.hash).where(
                audit_batches.c.chain == name, audit_batches.c.number.in_(part)
            )
        held |= {row.number: row.hash for row in connection.execute(query)}
    return held


def _first(name: str, links: list[Link], words: str) -> str:
    first = min(links, key=lambda link: (link.number, link.at))
    more = f" ({len(links) - 1} more anchors say so)" if len(links) > 1 else ""
    return f"chain {name}: link {first.number} {words.format(at=first.at)}{more}"


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
