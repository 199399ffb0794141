"""Predictions and their inputs in the database: written once, read by id; and which ids were erased.

Of an erased prediction a digest of its id is kept for a while, so that a label for it is refused at once. An id is
drawn at random or is a hash, so its digest says nothing about anybody. Only ids whose label would otherwise wait for
the prediction are kept, and none for ever.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, select

from mlplatform.audit import prediction_attestation
from mlplatform.errors import NotFoundError
from mlplatform.predictions import column_counts, prediction_counts, review_samples
from mlplatform.predictions.column_counts import ColumnCounters
from mlplatform.store.database import insert_many_returning, insert_new
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.predictions import erased_predictions, inputs, predictions
from pipelines.input_row import InputRow, is_table_form
from pipelines.inputs.packing import pack_input

ERASED_IDS_RETENTION: Final = timedelta(days=400)
ERASED_IDS_PER_STATEMENT: Final = 500


@dataclass(frozen=True)
class PredictionWithInput:
    """A prediction, the input it was made for, and the host class of the server that made it.

    On its way to the database the input need not be hashed or packed yet: that happens off the path of the response.
    """

    prediction: PredictionRecord
    input: InputRow
    host_class: str = ""

    @cached_property
    def packed_input(self) -> bytes:
        """The input as the database keeps it. Raises ValueError for what is no input of a model."""
        return pack_input(self.input)

    def pack_input(self) -> None:
        """Pack the input now, so that the transaction that writes it is short; raises ValueError."""
        _ = self.packed_input


def insert_predictions(
    connection: Connection,
    rows: Sequence[PredictionWithInput],
    instance: str = "",
    counters: ColumnCounters | None = None,
) -> int:
    """Write predictions and inputs, and count them for the server `instance`; returns how many were new.

    A prediction id that is there already changes nothing. `counters` know the columns of versions from earlier calls.
    """
    # 1. Each input once, in one order everywhere, so that writers do not block each other for ever.
    row_by_input = {row.prediction.image_hash: row for row in rows}
    insert_many_returning(
        connection,
        inputs,
        [
            {
                "hash": image_hash,
                "content": row.packed_input,
                "at": row.prediction.at,
                "form": row.input.form,
            }
            for image_hash, row in sorted(row_by_input.items())
        ],
        inputs.c.hash,
    )

    # 2. The predictions; only new ones are counted, drawn for review and attested in what follows.
    new_ids = insert_many_returning(connection, predictions, [vars(row.prediction) for row in rows], predictions.c.id)
    new_rows = {row.prediction.id: row for row in rows if row.prediction.id in new_ids}
    new_predictions = [row.prediction for row in new_rows.values()]

    # 3. What is derived from them, in the same transaction.
    by_host = [(row.prediction, row.host_class) for row in new_rows.values()]
    prediction_counts.count_predictions(connection, instance, by_host)
    table_rows = [(row.prediction, row.input) for row in new_rows.values() if row.input.is_table_row]
    column_counts.count_columns(connection, instance, table_rows, counters or ColumnCounters())
    review_samples.draw_samples(connection, new_predictions)
    prediction_attestation.append_batch(connection, instance, new_predictions)
    return len(new_ids)


def find(connection: Connection, prediction_id: str) -> PredictionRecord:
    """The prediction of that id; raises NotFoundError."""
    row = None
    if "\0" not in prediction_id:  # which PostgreSQL refuses as text
        row = connection.execute(select(predictions).where(predictions.c.id == prediction_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"prediction {prediction_id!r} is not known; ids come from POST /v1/predict")
    return PredictionRecord(**row._mapping)


@dataclass(frozen=True)
class PredictionOrigin:
    """Which model made a recorded prediction, and when."""

    model_name: str
    at: datetime


def prediction_origins(
    connection: Connection, ids: Iterable[str], *, lock: bool = False
) -> dict[str, PredictionOrigin]:
    """Those of the ids that are recorded; with `lock`, held until the transaction ends."""
    sorted_ids = sorted({prediction_id for prediction_id in ids if "\0" not in prediction_id})
    query = select(predictions.c.id, predictions.c.model_name, predictions.c.at).where(predictions.c.id.in_(sorted_ids))
    if lock:
        query = query.order_by(predictions.c.id).with_for_update(key_share=True)  # one order: no deadlock
    return {row.id: PredictionOrigin(row.model_name, row.at) for row in connection.execute(query)}


def existing_ids(connection: Connection, ids: Iterable[str], *, lock: bool = False) -> set[str]:
    """Those of the ids that are recorded; with `lock`, held until the transaction ends."""
    return set(prediction_origins(connection, ids, lock=lock))


def prediction_times(connection: Connection, ids: Iterable[str]) -> dict[str, datetime]:
    """When each of these predictions was made, as far as they are recorded."""
    return {prediction_id: origin.at for prediction_id, origin in prediction_origins(connection, ids).items()}


class StoredInput(NamedTuple):
    """An input as the database keeps it, and its form."""

    form: str
    content: bytes


def load_input(connection: Connection, input_hash: str) -> StoredInput:
    """What is kept under that content hash; raises NotFoundError."""
    row = connection.execute(select(inputs.c.form, inputs.c.content).where(inputs.c.hash == input_hash)).one_or_none()
    if row is None:
        raise NotFoundError(f"input {input_hash!r} is not kept")
    return StoredInput(row.form, bytes(row.content))


def load_image(connection: Connection, image_hash: str) -> bytes:
    """The PNG with that content hash; raises NotFoundError, also for an input that is no picture."""
    stored = load_input(connection, image_hash)
    if is_table_form(stored.form):
        raise NotFoundError(f"input {image_hash!r} is a row of a table and has no picture; see the prediction's row")
    return stored.content


def find_references(connection: Connection, model_name: str, references: Collection[str]) -> dict[str, str]:
    """The newest prediction of a model under each of the callers' own keys, as far as there is one."""
    query = (
        select(predictions.c.reference, predictions.c.id)
        .where(
            predictions.c.model_name == model_name,
            predictions.c.reference != "",
            predictions.c.reference.in_(sorted(reference for reference in references if "\0" not in reference)),
        )
        .order_by(predictions.c.at, predictions.c.id)
    )
    return {row.reference: row.id for row in connection.execute(query)}


def record_erased(connection: Connection, ids: Iterable[str], now: datetime) -> None:
    """Remember that the predictions of these ids were erased."""
    digests = sorted({_digest(prediction_id) for prediction_id in ids})
    rows = [{"digest": digest, "at": now} for digest in digests]
    for first in range(0, len(rows), ERASED_IDS_PER_STATEMENT):
        insert_new(connection, erased_predictions, rows[first : first + ERASED_IDS_PER_STATEMENT])


def find_erased(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the ids whose prediction was erased."""
    id_by_digest = {_digest(prediction_id): prediction_id for prediction_id in ids}
    digests, erased = sorted(id_by_digest), set[str]()
    for first in range(0, len(digests), ERASED_IDS_PER_STATEMENT):
        query = select(erased_predictions.c.digest).where(
            erased_predictions.c.digest.in_(digests[first : first + ERASED_IDS_PER_STATEMENT])
        )
        erased |= {id_by_digest[digest] for digest in connection.scalars(query)}
    return erased


def delete_expired(connection: Connection, now: datetime) -> None:
    """Forget the ids of predictions that were erased long ago."""
    connection.execute(delete(erased_predictions).where(erased_predictions.c.at < now - ERASED_IDS_RETENTION))


def _digest(prediction_id: str) -> int:
    return int.from_bytes(sha256(prediction_id.encode()).digest()[:8], "big", signed=True)
