"""Rows that no database takes, in a spool and in quarantine."""

from dataclasses import replace

from sqlalchemy import select

from mlplatform.context import AppContext
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.record_format import encode_frames, encode_prediction
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions as table
from pipelines.data import image_row
from tests.support.platform_world import picture, prediction


def answer(seed: int, **changes: object) -> PredictionWithInput:
    return PredictionWithInput(replace(prediction(seed=seed).prediction, **changes), image_row(picture(seed)))  # type: ignore[arg-type]


def put(context: AppContext, name: str, data: bytes) -> None:
    context.settings.spool_folder.mkdir(parents=True, exist_ok=True)
    with (context.settings.spool_folder / name).open("ab") as file:
        file.write(data)


def frames_of(*answers: PredictionWithInput) -> bytes:
    return encode_frames([encode_prediction(each) for each in answers])


def kept(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.scalars(select(table.c.id)))
