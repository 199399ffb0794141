"""Gives a prediction request sent again under its `Idempotency-Key` the same answer, so that it makes one row.

The newest answers are remembered by key, also while they are computed, so that one sent again while the first is under
way waits for it. A server that has forgotten, or another one, gives the answer the same ids while the same version
serves, and the store takes an id once. Only across a change of versions a request sent again to another server is a
new answer: an id never stands for the answers of two versions.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID

from fastapi import Request

from mlplatform.auth.caller import caller_of
from mlplatform.errors import InvalidInputError
from mlplatform.serve.inference.request_fields import validate_text
from pipelines.input_row import InputRow

if TYPE_CHECKING:
    from mlplatform.serve.schemas import PredictOut

IDEMPOTENCY_HEADER: Final = b"idempotency-key"
KEY_SEPARATOR: Final = "\0"
"""Between a key and the id of its caller's API key: no text that is sent holds it."""
MAX_CACHED_PREDICTIONS: Final = 20_000
"""So many images' answers are remembered: some 20 MB at ten classes."""


def idempotency_key(request: Request) -> str:
    """The key a request is sent under, one caller's apart from another's; "" without one.

    Raises InvalidInputError for one that is no text.
    """
    sent = next((value for name, value in request.scope["headers"] if name == IDEMPOTENCY_HEADER), b"")
    key, owner = sent.decode("latin-1"), caller_of(request).key_id
    validate_text(key, "Idempotency-Key")
    return f"{key}{KEY_SEPARATOR}{owner}" if key and owner else key


def deterministic_ids(key: str, client_id: str, version: int, rows: Sequence[InputRow]) -> list[str]:
    """Ids of a version's answers to the rows of one request: the same again for the same, as UUIDs (version 8)."""
    head = "\0".join((key, client_id, str(version))).encode()
    return [_uuid8(sha256(head + b"\0%d\0" % place + row.content).digest()) for place, row in enumerate(rows)]


def _uuid8(digest: bytes) -> str:
    bits = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0x3 << 62)
    return str(UUID(int=bits | 0x8 << 76 | 0x2 << 62))


class IdempotencyCache:
    """The answers of one server by key; used from its event loop only."""

    def __init__(self, max_predictions: int = MAX_CACHED_PREDICTIONS) -> None:
        self._max_predictions, self._prediction_count = max_predictions, 0
        self._entries: OrderedDict[str, tuple[bytes, asyncio.Task[PredictOut]]] = OrderedDict()

    async def get_or_run(self, key: str, content: bytes, work: Callable[[], Awaitable["PredictOut"]]) -> "PredictOut":
        """The answer to this request: the one that is known or under way, or a new one.

        An error is not remembered. Raises InvalidInputError where the key was used for another content.
        """
        digest = sha256(content).digest()
        entry = self._entries.get(key)
        if entry is None:
            task = asyncio.create_task(_as_coroutine(work()))  # one of its own: it goes on when this client goes away
            entry = self._entries[key] = (digest, task)
            task.add_done_callback(lambda done: self._on_done(key, done))
        if entry[0] != digest:
            sent = key.partition(KEY_SEPARATOR)[0]
            raise InvalidInputError(f"Idempotency-Key {sent!r} was used for another request; send each under its own")
        return await asyncio.shield(entry[1])

    def _on_done(self, key: str, done: "asyncio.Task[PredictOut]") -> None:
        if done.cancelled() or done.exception() is not None:
            del self._entries[key]
            return
        self._prediction_count += len(done.result().predictions)
        while self._prediction_count > self._max_predictions:
            oldest = next(iter(self._entries))
            oldest_task = self._entries[oldest][1]
            if not oldest_task.done() or oldest_task is done:
                return
            del self._entries[oldest]
            self._prediction_count -= len(oldest_task.result().predictions)


async def _as_coroutine(work: "Awaitable[PredictOut]") -> "PredictOut":
    return await work
