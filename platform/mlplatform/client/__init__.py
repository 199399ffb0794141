"""The Python client of the HTTP API, sync and async: typed results, typed errors, retries; it needs httpx alone.

with Client("http://127.0.0.1:8000", api_key=key) as client:
    answered = client.predict([png])
    client.feedback([Label(answered.predictions[0].id, "3", source="audit")])
"""

from mlplatform.client.api_calls import Label
from mlplatform.client.async_client import AsyncClient
from mlplatform.client.errors import ApiError, ClientError, RefusedError, UnavailableError, UnreadableError
from mlplatform.client.results import Answered, Detail, Given, Prediction, Queued, Review, Reviews, Taken
from mlplatform.client.retries import Retries
from mlplatform.client.sync_client import Client

__all__ = [
    "Answered",
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Detail",
    "Given",
    "Label",
    "Prediction",
    "Queued",
    "RefusedError",
    "Retries",
    "Review",
    "Reviews",
    "Taken",
    "UnavailableError",
    "UnreadableError",
]
