"""Writes rows of a spool to the database in the thread that asks, and names the rows that no database takes."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from mlplatform.clock import utc_now
from mlplatform.errors import StoreUnavailableError
from mlplatform.ids import uuid7
from mlplatform.predictions.column_counts import ColumnCounters
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.recording.spool.record_format import decode_frames, decode_prediction
from mlplatform.store.database import Database
from mlplatform.store.db_errors import is_data_error
from mlplatform.store.prediction import PredictionRecord
from pipelines.input_row import InputRow, image_form

log = logging.getLogger(__name__)
ROW_ERRORS: Final = (StatementError, ValueError, TypeError, LookupError, ArithmeticError)
"""What says that a row cannot be stored; any other trouble is the store's own, and waited out."""


class Writer(Protocol):
    """Writes rows to the database."""

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        """Write the rows of a server, given as frames, each once; returns the indices of those that no database takes.

        Damaged ones are among these. Raises StoreUnavailableError where the same rows must be given again; writing them
        twice doubles nothing.
        """

    def close(self) -> None:
        """Release what the writer holds."""


@dataclass(frozen=True)
class ThreadWriter:
    """Writes in the calling thread; what it has learnt of versions' columns holds for this database."""

    database: Database
    counters: ColumnCounters = field(default_factory=ColumnCounters)

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        refused: list[int] = []
        rows: list[tuple[int, PredictionWithInput]] = []
        for index, frame in enumerate(decode_frames(data)):
            if frame.payload is None:
                refused.append(index)
                continue
            try:
                row = decode_prediction(frame.payload)
                row.pack_input()
                rows.append((index, row))
            except (ValueError, KeyError, TypeError):
                log.exception("a row of the spool cannot be read")
                refused.append(index)
        self._write_rows(rows, instance, refused)
        return tuple(sorted(refused))

    def write_probe(self, instance: str) -> None:
        """Write a row and roll it back, to see whether the database takes any; raises StoreUnavailableError."""
        probe = InputRow(image_form(1, 1), b"\0")
        row = PredictionRecord(
            id=uuid7(), at=utc_now(), model_name="", model_version=0, image_hash=probe.content_hash, label="",
            probabilities=[], confidence=0.0, latency_ms=0.0, request_id="", client_id="",
        )  # fmt: skip
        with suppress(_RollbackProbeError), self.database.write() as connection:
            insert_predictions(connection, [PredictionWithInput(row, probe)], instance)
            raise _RollbackProbeError

    def close(self) -> None:
        """Nothing is held: the database is the server's."""

    def _write_rows(
        self, rows: Sequence[tuple[int, PredictionWithInput]], instance: str, refused: list[int], *, retry: bool = True
    ) -> None:
        """Write a batch; one that the database refuses is written row by row, and the refused ones are noted."""
        if not rows:
            return
        try:
            self._insert([row for _, row in rows], instance)
        except ROW_ERRORS as refusal:
            if len(rows) > 1:
                log.warning(
                    "a batch was refused (%s): writing its %d rows one by one", type(refusal).__name__, len(rows)
                )
                for row in rows:
                    self._write_rows([row], instance, refused)
            elif isinstance(refusal, IntegrityError) and retry:
                # its input may have been erased at that moment
                self._write_rows(rows, instance, refused, retry=False)
            else:
                log.exception("prediction %s could not be recorded", rows[0][1].prediction.id)
                refused.append(rows[0][0])

    def _insert(self, rows: list[PredictionWithInput], instance: str) -> None:
        try:
            with self.database.write() as connection:
                insert_predictions(connection, rows, instance, self.counters)
        except DBAPIError as error:
            if isinstance(error, DataError | IntegrityError) or is_data_error(error):
                raise
            raise StoreUnavailableError(str(error.orig or error)) from error


class _RollbackProbeError(Exception):
    """Ends a transaction that is not to be kept."""
