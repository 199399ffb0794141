"""What happens to a cheque: it is decoded, located, read, decided and kept; a person's verdict is kept and sent back.

A decision, the hold on its code line, its pictures, its label and its entry in the audit trail are one transaction.
Before it nothing is kept: where the process is killed the cheque is sent again.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from typing import Any, Final

from PIL import Image
from sqlalchemy import Connection, delete, select, update

from cheques import audit_chain
from cheques.account_table import find_account
from cheques.amount_reading import AmountReading, ReadingClient, read_amount
from cheques.code_line import CodeLine, parse_code_line
from cheques.decision import REFUSED_FOR_ITSELF, Decision, Evidence, Limits, Reason, decide, parse_amount
from cheques.errors import BusyError, CodeLineError, ConflictError, UnknownChequeError
from cheques.settings import Settings
from cheques.store import Store, add, cheques, insert_new, labels, pictures, presentations
from cheques.upload import decode_upload
from cheques.vision.amount_field import digit_places
from cheques.vision.geometry import Box, Pixels, grey
from cheques.vision.locating import LocatedCheque, locate_cheque

BUSY_SECONDS: Final = 20.0
FLAT_QUALITY: Final = 82
MACHINE: Final = "machine"
HOLD_TRIES: Final = 5
NO_READING: Final = AmountReading("", 0.0, (), "", "", 0)


@dataclass(frozen=True)
class Verdict:
    """What a person read on a cheque, and whether it is to be refused whatever the rules say.

    Amount and code line may be empty of one that is refused: it may be no cheque at all.
    """

    amount: str
    code: str
    reviewer: str
    refuse: bool = False
    note: str = ""


class ChequeProcessor:
    """Takes cheques and verdicts; threads may share it."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        client: ReadingClient,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings, self.store, self.client, self.now = settings, store, client, now
        self.limits = Limits(settings.threshold, settings.largest_unseen, settings.largest_lawful)
        self._turns = threading.BoundedSemaphore(settings.concurrent_readings)

    def present(self, content: bytes, actor: str = MACHINE) -> str:
        """Decide an uploaded cheque; returns its id.

        Raises UploadError for what is no picture, BusyError, and ReaderUnavailableError; nothing is kept then.
        """
        received = self.now()
        with self._turn():
            located = locate_cheque(decode_upload(content, self.settings.max_upload_bytes, self.settings.max_pixels))
            picture = located.amount_picture
        reading = NO_READING if picture is None else read_amount(self.client, picture)
        cheque_id = uuid.uuid4().hex
        flat = _jpeg(located.pixels)
        digests = {"upload": sha256(content).hexdigest(), "flat": sha256(flat).hexdigest()}
        shown = _reading_document(located, reading) | digests
        row: dict[str, Any] = {
            "id": cheque_id,
            "received_at": audit_chain.utc_text(received),
            "code": "" if located.code is None else located.code.text,
            "amount": reading.text,
            "reading": shown,
        }
        with self.store.write() as connection:
            decision = self._decide(connection, cheque_id, located.code, located.code_fault, reading)
            sampled = bool(reading.prediction_id) and _is_drawn(cheque_id, self.settings.sample_share)
            row |= {"is_sampled": sampled, "is_checked": False}
            self._keep(connection, row, decision, actor)
            add(connection, pictures, {"cheque_id": cheque_id, "flat": flat})
        return cheque_id

    def review(self, cheque_id: str, verdict: Verdict) -> Decision:
        """Decide a cheque that waits for a person, by what they read; its amount becomes a label of the reading.

        The label is a correction, for doubt picked the cheque; one that chance drew as well estimates.

        Raises AmountError or CodeLineError for what cannot be, and ConflictError where it waits no longer.
        """
        if verdict.amount.strip() or not verdict.refuse:
            parse_amount(verdict.amount)
        code = _code_of(verdict)
        with self.store.write() as connection:
            row = find_cheque(connection, cheque_id, lock=True)
            if row["outcome"] != "review":
                raise ConflictError(f"cheque {cheque_id} is decided already ({row['outcome']} by {row['decided_by']})")
            connection.execute(delete(presentations).where(presentations.c.cheque_id == cheque_id))
            read = AmountReading(verdict.amount.strip(), 1.0, (), "", "", 0)
            decision = self._decide(connection, cheque_id, code, "", read, seen_by=verdict)
            changed = {"code": "" if code is None else code.text, "amount": read.text, "is_checked": True}
            self._change(connection, row | changed, decision, verdict.reviewer)
            source = "audit" if row["is_sampled"] else "correction"
            if read.text:
                self._keep_label(connection, row, read.text, source, verdict.reviewer)
        return decision

    def check(self, cheque_id: str, amount: str, reviewer: str) -> bool:
        """What a person read on a decided cheque that was drawn; returns whether it is the amount that was taken.

        Its decision stands, and the trail says where they differ. The label estimates: chance picked the cheque.
        """
        parse_amount(amount)
        with self.store.write() as connection:
            row = find_cheque(connection, cheque_id, lock=True)
            if not row["is_sampled"] or row["is_checked"] or row["outcome"] == "review":
                raise ConflictError(f"cheque {cheque_id} is not drawn for a check, or somebody checked it")
            connection.execute(update(cheques).where(cheques.c.id == cheque_id).values(is_checked=True))
            agrees: bool = row["amount"] == amount.strip()
            self._keep_label(connection, row, amount.strip(), "audit", reviewer)
            details = {"amount": row["amount"], "seen": amount.strip(), "agrees": agrees}
            audit_chain.append(connection, self.now(), reviewer, "checked", cheque_id, details)
        return agrees

    def _decide(
        self,
        connection: Connection,
        cheque_id: str,
        code: CodeLine | None,
        fault: str,
        reading: AmountReading,
        seen_by: Verdict | None = None,
    ) -> Decision:
        """Decide, with the account locked and the code line held where the cheque is not refused."""
        account = None if code is None else find_account(connection, code.account_key, lock=True)
        other = "" if code is None else _hold(connection, code, cheque_id)
        refused = "" if code is None else _refused_before(connection, code)
        evidence = Evidence(code, fault, reading.text, reading.confidence, account, other, refused, seen_by is not None)
        decision = decide(evidence, self.limits)
        if seen_by is not None and seen_by.refuse:
            decision = Decision("refuse", (*decision.reasons, _refused_by(seen_by)))
        if not other and decision.outcome == "refuse":  # a cheque that was refused may come again, mended
            connection.execute(delete(presentations).where(presentations.c.cheque_id == cheque_id))
        return decision

    def _keep(self, connection: Connection, row: dict[str, Any], decision: Decision, actor: str) -> None:
        decided = row | self._verdict_columns(decision, actor)
        add(connection, cheques, decided)
        audit_chain.append(connection, self.now(), actor, "presented", row["id"], _audit_details(decided))

    def _change(self, connection: Connection, row: dict[str, Any], decision: Decision, actor: str) -> None:
        decided = row | self._verdict_columns(decision, actor)
        connection.execute(update(cheques).where(cheques.c.id == row["id"]).values(decided))
        audit_chain.append(connection, self.now(), actor, "reviewed", row["id"], _audit_details(decided))

    def _verdict_columns(self, decision: Decision, actor: str) -> dict[str, Any]:
        reasons = [asdict(reason) for reason in decision.reasons]
        now = audit_chain.utc_text(self.now())
        return {"outcome": decision.outcome, "reasons": reasons, "decided_at": now, "decided_by": actor}

    def _keep_label(self, connection: Connection, row: dict[str, Any], label: str, source: str, reviewer: str) -> None:
        """Keep a label until it is sent: nothing of it is lost where the platform does not answer now."""
        prediction_id = row["reading"]["prediction_id"]
        if not prediction_id:  # no field was found, so nothing was read
            return
        values = {"cheque_id": row["id"], "prediction_id": prediction_id, "label": label, "source": source}
        at = audit_chain.utc_text(self.now())
        add(connection, labels, values | {"reviewer": reviewer, "at": at, "state": "waiting", "note": ""})

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One of the turns in which pictures are decoded, so that many at once do not fill the memory."""
        if not self._turns.acquire(timeout=BUSY_SECONDS):
            raise BusyError(f"{self.settings.concurrent_readings} pictures are being read; send the cheque again")
        try:
            yield
        finally:
            self._turns.release()


def find_cheque(connection: Connection, cheque_id: str, *, lock: bool = False) -> dict[str, Any]:
    """The row of a cheque; raises UnknownChequeError."""
    query = select(cheques).where(cheques.c.id == cheque_id)
    is_id = cheque_id.isascii() and cheque_id.isalnum()  # PostgreSQL fails on others, such as a zero byte
    row = connection.execute(query.with_for_update() if lock else query).one_or_none() if is_id else None
    if row is None:
        raise UnknownChequeError(f"no cheque {cheque_id[:40]!r}; the list has those there are")
    return dict(row._mapping)


def flat_picture(connection: Connection, cheque_id: str) -> bytes:
    """The JPEG of a cheque that was turned flat; raises UnknownChequeError."""
    find_cheque(connection, cheque_id)
    content: bytes | None = connection.scalar(select(pictures.c.flat).where(pictures.c.cheque_id == cheque_id))
    if content is None:
        raise UnknownChequeError(f"no picture of a cheque {cheque_id[:40]!r}")
    return content


def _hold(connection: Connection, code: CodeLine, cheque_id: str) -> str:
    """Hold a code line for a cheque; returns the other cheque that holds it, "" where this one does now."""
    query = select(presentations.c.cheque_id).where(presentations.c.code == code.text).with_for_update(read=True)
    for _ in range(HOLD_TRIES):
        if insert_new(connection, presentations, {"code": code.text, "cheque_id": cheque_id}):
            return ""
        other: str | None = connection.scalar(query)
        if other is not None:  # else it was refused between the two statements
            return other
    raise ConflictError(f"cheques with the code line {code.text} come and go; send this one again")


def _refused_before(connection: Connection, code: CodeLine) -> str:
    """A cheque with this code line that was refused for what is written on it; "" where there is none."""
    query = select(cheques.c.id, cheques.c.reasons).where(cheques.c.code == code.text, cheques.c.outcome == "refuse")
    for row in connection.execute(query.order_by(cheques.c.received_at)):
        if not REFUSED_FOR_ITSELF.isdisjoint(reason["rule"] for reason in row.reasons):
            return str(row.id)
    return ""


def _code_of(verdict: Verdict) -> CodeLine | None:
    """The code line that a person saw; None of a refused cheque without a readable one."""
    try:
        return parse_code_line(verdict.code)
    except CodeLineError:
        if verdict.refuse:
            return None
        raise


def _reading_document(located: LocatedCheque, reading: AmountReading) -> dict[str, Any]:
    """What vision and model saw, as it is kept and shown."""
    places: tuple[Box, ...] = ()
    is_exact = False
    if located.writing is not None:
        places, is_exact = digit_places(grey(located.pixels), located.writing, len(reading.text))
    return {
        "text": reading.text,
        "confidence": reading.confidence,
        "characters": list(reading.characters),
        "prediction_id": reading.prediction_id,
        "model": reading.model,
        "version": reading.version,
        "frame": None if located.frame is None else list(located.frame),
        "writing": None if located.writing is None else list(located.writing),
        "digits": [list(box) for box in places],
        "digits_exact": is_exact,
        "line": None if located.line is None else list(located.line.box),
        "line_text": "" if located.line is None else located.line.text,
        "line_fault": located.code_fault,
    }


def _refused_by(verdict: Verdict) -> Reason:
    return Reason("person", f"{verdict.reviewer} refuses it: {verdict.note or 'no reason given'}", "refuse")


def _audit_details(row: dict[str, Any]) -> dict[str, Any]:
    """What the trail says of a decision; the digest vouches for the whole row."""
    reading = row["reading"]
    return {
        "outcome": row["outcome"],
        "reasons": [reason["text"] for reason in row["reasons"]],
        "code": row["code"],
        "amount": row["amount"],
        "read": reading["text"],
        "confidence": reading["confidence"],
        "prediction_id": reading["prediction_id"],
        "model": f"{reading['model']}:{reading['version']}",
        "received_at": row["received_at"],
        "digest": audit_chain.cheque_digest(row),
    }


def _is_drawn(cheque_id: str, share: float) -> bool:
    """Whether chance picks this cheque: its id is random."""
    return int(cheque_id[:8], 16) < share * 2**32


def _jpeg(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=FLAT_QUALITY)
    return file.getvalue()
