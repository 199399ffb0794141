"""The Python client of the HTTP API, sync and async: typed results, typed errors, retries. It needs httpx only.

with Client("http://127.0.0.1:8000", api_key=key) as client:
    answered = client.predict([png])
    client.feedback([Label(answered.predictions[0].id, "3", source="audit")])
"""

from mlplatform.client.api_calls import Label
from mlplatform.client.async_client import AsyncClient
from mlplatform.client.errors import (
    ApiError,
    ApiRequestError,
    ClientError,
    InvalidResponseError,
    MissingPandasError,
    UnavailableError,
)
from mlplatform.client.pandas_frames import to_frame
from mlplatform.client.results import (
    FeedbackResult,
    History,
    HistoryPoint,
    LabelRecord,
    Prediction,
    PredictionDetail,
    PredictResponse,
    RetrainingQueued,
    ReviewAssignment,
    ReviewBatch,
)
from mlplatform.client.retries import RetryPolicy
from mlplatform.client.sync_client import Client

__all__ = [
    "ApiError",
    "ApiRequestError",
    "AsyncClient",
    "Client",
    "ClientError",
    "FeedbackResult",
    "History",
    "HistoryPoint",
    "InvalidResponseError",
    "Label",
    "LabelRecord",
    "MissingPandasError",
    "PredictResponse",
    "Prediction",
    "PredictionDetail",
    "RetrainingQueued",
    "RetryPolicy",
    "ReviewAssignment",
    "ReviewBatch",
    "UnavailableError",
    "to_frame",
]
