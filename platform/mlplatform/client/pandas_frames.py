"""Makes pandas frames of the client's results, where pandas is installed; nothing else here needs it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlplatform.client.errors import MissingPandasError

if TYPE_CHECKING:
    import pandas as pd


def to_frame(rows: Iterable[Mapping[str, Any]], index: str = "") -> "pd.DataFrame":
    """A frame of JSON objects, one a row, objects within them as columns `outer.inner`, times as UTC.

    A column may be the index. Raises MissingPandasError where pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingPandasError("pandas is not installed here; install it, or read the results as they are") from error
    frame = pd.json_normalize([dict(row) for row in rows])
    for name in frame.columns:
        if name == "at" or name.endswith("_at"):
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame.set_index(index) if index and index in frame.columns else frame
