"""Labels as clients give them, and which of them count."""

from datetime import datetime

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from tests.support.platform_world import START


def an_id(at: datetime = START) -> str:
    return uuid7(lambda: at)


def current(context: AppContext, prediction_id: str) -> list[str]:
    with context.database.read() as connection:
        return [each.label for each in label_records.current_labels(connection, prediction_id)]
