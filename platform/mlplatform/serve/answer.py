"""One prediction request from decoded pictures to answers; it knows no HTTP and writes nothing itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson

from mlplatform.clock import new_id
from mlplatform.errors import InvalidInputError
from mlplatform.serve.bodies import ModelName, PredictionOut, PredictOut
from mlplatform.serve.decode import MOST_TAGS, Decoder, Sent, check_tags, check_text
from mlplatform.serve.recorder import Answer
from mlplatform.serve.repeats import lasting_ids
from mlplatform.serve.server import Server
from mlplatform.serve.stages import Passage
from mlplatform.serve.tracing import kept_tags, read_trace
from mlplatform.serve.tuning import host_class
from mlplatform.store.predictions import Prediction


@dataclass(frozen=True)
class Asked:
    """A request's content: JSON body, picture bytes, or what another protocol decodes; and who asks.

    `version` is the one version that may answer, None for whichever serves. `key` names the request for good: sent
    again, it is the same answer. `trace` is the `traceparent` that it came with.
    """

    body: bytes | None = None
    pictures: tuple[bytes, ...] = ()
    client_id: str = ""
    request_id: str = ""
    tags: str = ""
    decode: Callable[[Decoder], Sent] | None = None
    version: int | None = None
    key: str = ""
    trace: str = ""


async def ask(server: Server, asked: Asked, content: bytes) -> PredictOut:
    """Answer on one of the threads; a request sent again under its key, with the same content, is answered alike."""
    with server.underway:
        if not asked.key:
            return await server.pool.run(_observed, server, asked, Passage(trace=asked.trace))
        return await server.repeats.once(
            asked.key, content, lambda: server.pool.run(_observed, server, asked, Passage(trace=asked.trace))
        )


def _observed(server: Server, asked: Asked, passage: Passage) -> PredictOut:
    """The answer, with every observer told how the request went."""
    passage.waited()
    try:
        return answer(server, asked, passage)
    except Exception as error:
        passage.error = type(error).__name__
        raise
    finally:
        passage.ended = time.perf_counter_ns()
        for observer in server.observers:
            observer.passed(passage)


def answer(server: Server, asked: Asked, passage: Passage | None = None) -> PredictOut:
    """Decode, predict, queue the records, answer. Raises the typed input errors and ModelUnavailableError."""
    passage = passage or Passage()
    begun = time.perf_counter()
    champion = server.holder.take()
    with passage.timed("decode"):
        sent = _decoded(server, asked)
    images, texts, trace = sent.images, sent.texts, read_trace(asked.trace)
    request_id = texts.get("request_id") or asked.request_id or (trace.trace_id if trace else new_id())
    client_id = texts.get("client_id") or asked.client_id
    tags = kept_tags(sent.tags, trace, request_id, MOST_TAGS)
    with passage.timed("infer"):
        answered = server.challenger.answer(champion, client_id or request_id, asked.version, images)
    server.metrics.batch(len(images))
    loaded, probabilities = answered.loaded, answered.probabilities
    spent_ms = (time.perf_counter() - begun) * 1000 / len(images)
    now = server.parts.clock()
    rows, host = [], host_class(server.tuner.threads)
    ids = lasting_ids(asked.key, client_id, loaded.version, images) if asked.key else [new_id() for _ in images]
    for fresh, image, row in zip(ids, images, probabilities, strict=True):
        best = int(np.argmax(row))
        rows.append(
            Answer(
                Prediction(
                    id=fresh,
                    at=now,
                    model_name=loaded.name,
                    model_version=loaded.version,
                    image_hash="",
                    label=loaded.predictor.classes[best],
                    probabilities=[round(float(p), 6) for p in row],
                    confidence=min(1.0, float(row[best])),
                    latency_ms=spent_ms,
                    request_id=request_id,
                    client_id=client_id,
                    tags=tags or None,
                    role=answered.role,
                ),
                image,
                host,
            )
        )
    with passage.timed("record"):
        lost = server.recorder.put(rows)
    passage.request_id, passage.version, passage.role = request_id, loaded.version, answered.role
    passage.prediction_ids = tuple(ids)
    server.shadow.offer(champion, answered.role, ids, images)
    server.metrics.latency.observe(spent_ms * len(images) / 1000)
    model = ModelName(name=loaded.name, version=loaded.version)
    return PredictOut(
        request_id=request_id,
        predictions=[_shown(row.prediction, loaded.predictor.classes, model) for row in rows],
        latency_ms=round(spent_ms * len(images), 3),
        recorded=lost == 0,
    )


def _decoded(server: Server, asked: Asked) -> Sent:
    check_text(asked.client_id, "client_id")
    check_text(asked.request_id, "request_id")
    if asked.decode is not None:
        return asked.decode(server.decoder)
    if asked.body is not None:
        return server.decoder.json_body(asked.body)
    try:
        tags = orjson.loads(asked.tags) if asked.tags else None
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"tags are not JSON ({error}); send an object of names and texts") from error
    return Sent(server.decoder.images(asked.pictures), {}, check_tags(tags))


def _shown(row: Prediction, classes: tuple[str, ...], model: ModelName) -> PredictionOut:
    return PredictionOut(
        id=row.id,
        label=row.label,
        confidence=row.confidence,
        probabilities=dict(zip(classes, row.probabilities, strict=True)),
        model=model,
    )
