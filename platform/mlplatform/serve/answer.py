"""One prediction request from its content to answers; it knows no HTTP and writes nothing itself.

`answer` is for threads and gives a model of the reply; `reply` is for the event loop and gives its JSON. Both do the
same: decode, ask cache and model, queue the records.
"""

import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson

from mlplatform.clock import new_id
from mlplatform.errors import InvalidInputError
from mlplatform.serve.batcher import Computed
from mlplatform.serve.bodies import ModelName, PredictionOut, PredictOut
from mlplatform.serve.compute import awaited, computed
from mlplatform.serve.decode import Sent, check_tags, check_text, is_small
from mlplatform.serve.holder import Loaded
from mlplatform.serve.recorder import Answer
from mlplatform.serve.server import Server
from mlplatform.serve.tensor import Tensor
from mlplatform.serve.tuning import host_class
from mlplatform.store.predictions import Prediction

SMALL_BODY: Final = 16 * 1024
"""Bodies up to so many bytes are decoded on the event loop: handing them to a thread costs more than it saves."""
PICTURE_MARKS: Final = (b"iVBOR", b"/9j", b"\\")
"""How a PNG or a JPEG begins in base64, and what could hide that."""


@dataclass(frozen=True)
class Asked:
    """A request's content: JSON body, picture bytes or a raw tensor, and who asks."""

    body: bytes | None
    pictures: tuple[bytes, ...]
    client_id: str = ""
    request_id: str = ""
    tags: str = ""
    tensor: Tensor | None = None


@dataclass(frozen=True)
class _Made:
    """What a request became: its records, and what is said about it."""

    loaded: Loaded
    rows: list[Answer] = field(repr=False)
    request_id: str
    spent_ms: float
    recorded: bool


def answer(server: Server, asked: Asked) -> PredictOut:
    """Decode, predict, queue the records, answer. Raises the typed input errors and ModelUnavailableError."""
    loaded = server.holder.take()
    begun = time.perf_counter()
    sent = _decoded(server, asked)
    decoded = time.perf_counter() - begun
    made = _recorded(server, asked, loaded, sent, computed(server, loaded, sent.images), decoded)
    model = ModelName(name=loaded.name, version=loaded.version)
    return PredictOut(
        request_id=made.request_id,
        predictions=[_shown(row.prediction, loaded.predictor.classes, model) for row in made.rows],
        latency_ms=made.spent_ms,
        recorded=made.recorded,
    )


async def reply(server: Server, asked: Asked) -> bytes:
    """The same as JSON, without holding up the event loop for longer than a small body needs."""
    loaded = server.holder.take()
    begun = time.perf_counter()
    sent = _decoded(server, asked) if _is_small(asked) else await server.pool.run(_decoded, server, asked)
    decoded = time.perf_counter() - begun
    found = await awaited(server, loaded, sent.images)
    if server.recorder.waits:
        made = await server.pool.run(_recorded, server, asked, loaded, sent, found, decoded)
    else:
        made = _recorded(server, asked, loaded, sent, found, decoded)
    classes, model = loaded.predictor.classes, {"name": loaded.name, "version": loaded.version}
    return orjson.dumps(
        {
            "request_id": made.request_id,
            "predictions": [
                {
                    "id": row.prediction.id,
                    "label": row.prediction.label,
                    "confidence": row.prediction.confidence,
                    "probabilities": dict(zip(classes, row.prediction.probabilities, strict=True)),
                    "model": model,
                }
                for row in made.rows
            ],
            "latency_ms": made.spent_ms,
            "recorded": made.recorded,
        }
    )


def _recorded(server: Server, asked: Asked, loaded: Loaded, sent: Sent, made: Computed, decoded: float) -> _Made:
    """Queue the records of a request that was answered."""
    spent_ms = (decoded + made.seconds) * 1000
    share_ms = spent_ms / len(sent.images)
    request_id = sent.texts.get("request_id") or asked.request_id or new_id()
    client_id = sent.texts.get("client_id") or asked.client_id
    now, host = server.parts.clock(), host_class()
    classes, tags = loaded.predictor.classes, sent.tags or None
    labels = made.probabilities.argmax(axis=1).tolist()
    confidences = np.minimum(made.probabilities.max(axis=1), 1.0).tolist()
    rounded = np.round(made.probabilities.astype(np.float64), 6).tolist()
    rows = [
        Answer(
            Prediction(
                id=new_id(),
                at=now,
                model_name=loaded.name,
                model_version=loaded.version,
                image_hash="",
                label=classes[label],
                probabilities=probabilities,
                confidence=confidence,
                latency_ms=share_ms,
                request_id=request_id,
                client_id=client_id,
                tags=tags,
            ),
            image,
            host,
        )
        for image, label, confidence, probabilities in zip(sent.images, labels, confidences, rounded, strict=True)
    ]
    lost = server.recorder.put(rows)
    server.metrics.answered(loaded.version, len(rows), spent_ms / 1000, made.batch)
    return _Made(loaded, rows, request_id, round(spent_ms, 3), lost == 0)


def _decoded(server: Server, asked: Asked) -> Sent:
    check_text(asked.client_id, "client_id")
    check_text(asked.request_id, "request_id")
    if asked.body is not None:
        return server.decoder.json_body(asked.body)
    try:
        tags = orjson.loads(asked.tags) if asked.tags else None
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"tags are not JSON ({error}); send an object of names and texts") from error
    if asked.tensor is not None:
        return Sent(asked.tensor.images(server.decoder), {}, check_tags(tags))
    return Sent(server.decoder.images(asked.pictures), {}, check_tags(tags))


def _is_small(asked: Asked) -> bool:
    """Whether decoding takes no longer than handing the work to a thread would."""
    if asked.tensor is not None:
        return len(asked.tensor.data) <= SMALL_BODY
    if asked.body is not None:
        return len(asked.body) <= SMALL_BODY and not any(mark in asked.body for mark in PICTURE_MARKS)
    return len(asked.pictures) == 1 and len(asked.pictures[0]) <= SMALL_BODY and is_small(asked.pictures[0])


def _shown(row: Prediction, classes: tuple[str, ...], model: ModelName) -> PredictionOut:
    return PredictionOut(
        id=row.id,
        label=row.label,
        confidence=row.confidence,
        probabilities=dict(zip(classes, row.probabilities, strict=True)),
        model=model,
    )
