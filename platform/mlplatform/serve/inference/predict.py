"""One prediction request from its content to answers; it knows no HTTP and writes nothing itself.

`answer` decodes, asks cache and model and keeps the records; `ask` and `reply` give the same as a model
and as JSON, and know requests that were sent again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from mlplatform.clock import new_id
from mlplatform.errors import ModelUnavailableError
from mlplatform.promotion.rollouts import CANARY, CHAMPION
from mlplatform.recording.recorder import Answer
from mlplatform.schema_base import ModelName
from mlplatform.serve.inference.batcher import Computed
from mlplatform.serve.inference.cached_inference import awaited
from mlplatform.serve.inference.idempotency import lasting_ids
from mlplatform.serve.inference.image_codec import (
    MOST_TAGS,
    SMALL_BODY,
    Decoder,
    Sent,
    among_images,
    check_tags,
    check_text,
    is_small,
    read_tags,
)
from mlplatform.serve.inference.model_slot import Loaded
from mlplatform.serve.observability.request_timing import Passage
from mlplatform.serve.observability.trace_context import kept_tags, read_trace
from mlplatform.serve.protocols.raw_tensor import Tensor
from mlplatform.serve.schemas import PredictionOut, PredictOut
from mlplatform.serve.state import Server
from mlplatform.serve.tuning.tuner import host_class
from mlplatform.store.prediction import Prediction

PICTURE_MARKS: Final = (b"iVBOR", b"/9j", b"\\")
"""How a PNG or a JPEG begins in base64, and what could hide that."""


@dataclass(frozen=True)
class Asked:
    """A request's content: JSON body, picture bytes, a raw tensor, or what another protocol decodes; and who asks.

    `version` is the one version that may answer, None for whichever serves. `key` names the request for good: sent
    again, it is the same answer. `trace` is the `traceparent` that it came with.
    """

    body: bytes | None = None
    pictures: tuple[bytes, ...] = ()
    client_id: str = ""
    request_id: str = ""
    tags: str = ""
    tensor: Tensor | None = None
    decode: Callable[[Decoder], Sent] | None = None
    version: int | None = None
    key: str = ""
    trace: str = ""


@dataclass(frozen=True)
class Made:
    """What a request became: its records, and what is said about it."""

    loaded: Loaded
    rows: list[Answer] = field(repr=False)
    request_id: str
    spent_ms: float
    recorded: bool

    def shown(self) -> PredictOut:
        """The reply as a model."""
        classes, model = self.loaded.predictor.classes, ModelName(name=self.loaded.name, version=self.loaded.version)
        predictions = [
            PredictionOut(
                id=row.prediction.id,
                label=row.prediction.label,
                confidence=row.prediction.confidence,
                probabilities=dict(zip(classes, row.prediction.probabilities, strict=True)),
                model=model,
            )
            for row in self.rows
        ]
        return PredictOut(
            request_id=self.request_id, predictions=predictions, latency_ms=self.spent_ms, recorded=self.recorded
        )

    def json(self) -> bytes:
        """The same as JSON, without the time a model takes to be checked."""
        classes, model = self.loaded.predictor.classes, {"name": self.loaded.name, "version": self.loaded.version}
        predictions = [
            {
                "id": row.prediction.id,
                "label": row.prediction.label,
                "confidence": row.prediction.confidence,
                "probabilities": dict(zip(classes, row.prediction.probabilities, strict=True)),
                "model": model,
            }
            for row in self.rows
        ]
        return orjson.dumps(
            {
                "request_id": self.request_id,
                "predictions": predictions,
                "latency_ms": self.spent_ms,
                "recorded": self.recorded,
            }
        )


async def ask(server: Server, asked: Asked, content: bytes) -> PredictOut:
    """Answer; a request sent again under its key, with the same content, is answered alike."""

    async def once() -> PredictOut:
        return (await _observed(server, asked)).shown()

    return await (server.repeats.once(asked.key, content, once) if asked.key else once())


async def reply(server: Server, asked: Asked, content: bytes) -> bytes:
    """The same as JSON."""
    if asked.key:
        return orjson.dumps((await ask(server, asked, content)).model_dump())
    return (await _observed(server, asked)).json()


async def _observed(server: Server, asked: Asked) -> Made:
    """The answer, with every observer told how the request went."""
    passage = Passage(trace=asked.trace)
    with server.underway:
        try:
            return await answer(server, asked, passage)
        except Exception as error:
            passage.error = type(error).__name__
            raise
        finally:
            passage.ended = time.perf_counter_ns()
            for observer in server.observers:
                observer.passed(passage)


async def answer(server: Server, asked: Asked, passage: Passage) -> Made:
    """Decode, ask the model, keep the records; the event loop is held up no longer than a small body needs.

    Raises the typed input errors, ModelUnavailableError and RecordingError.
    """
    champion = server.holder.take()
    begun = time.perf_counter_ns()
    sent = _decoded(server, asked) if _is_small(asked) else await server.pool.run(_decoded, server, asked)
    decoded, trace = passage.note("decode", begun).seconds, read_trace(asked.trace)
    client_id = sent.texts.get("client_id") or asked.client_id
    request_id = sent.texts.get("request_id") or asked.request_id or (trace.trace_id if trace else _request_id())
    loaded, role = server.challenger.choose(champion, client_id or request_id, asked.version)
    computed = await _by_canary(server, loaded, sent, named=asked.version is not None) if role == CANARY else None
    if computed is None:  # a canary that failed hurts nobody
        loaded, role = champion, CHAMPION
        computed = await awaited(server, champion, sent.images)
    passage.inferred(computed.seconds)
    spent_ms = (decoded + computed.seconds) * 1000
    tags = kept_tags(sent.tags, trace, request_id, MOST_TAGS)
    ids = lasting_ids(asked.key, client_id, loaded.version, sent.images) if asked.key else None
    told = _Told(request_id, client_id, tags, role, spent_ms / len(sent.images), ids)
    begun = time.perf_counter_ns()
    rows = _rows(server, loaded, sent, computed, told)
    lost = server.recorder.put(rows)
    if server.recorder.waits:
        await server.recorder.last(len(rows))
    passage.note("record", begun)
    passage.request_id, passage.version, passage.role = request_id, loaded.version, role
    passage.prediction_ids = tuple([row.prediction.id for row in rows])
    server.shadow.offer(champion, role, passage.prediction_ids, sent.images)
    server.metrics.answered(loaded.version, len(rows), spent_ms / 1000, computed.batch)
    return Made(loaded, rows, request_id, round(spent_ms, 3), lost == 0)


def _request_id() -> str:
    """An id for a request, in the form of a trace's: it cannot be taken for that of a prediction."""
    return new_id().replace("-", "")


async def _by_canary(server: Server, loaded: Loaded, sent: Sent, *, named: bool) -> Computed | None:
    """What the canary answers, counted; None where it fails.

    Raises ModelUnavailableError where it fails and was asked for by its version: no other one may answer.
    """
    try:
        computed = await awaited(server, loaded, sent.images)
    except ModelUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a challenger does wrong, the champion answers
        server.challenger.note(loaded, len(sent.images), error)
    else:
        if server.challenger.sound(loaded, computed.probabilities):
            return computed
    if named:
        raise ModelUnavailableError(
            f"version {loaded.version} failed to answer; ask for none, and the champion answers"
        )
    return None


@dataclass(frozen=True)
class _Told:
    """What all answers of one request share; `ids` where its key decides them."""

    request_id: str
    client_id: str
    tags: dict[str, str]
    role: str
    latency_ms: float
    ids: Sequence[str] | None


def _rows(server: Server, loaded: Loaded, sent: Sent, computed: Computed, told: _Told) -> list[Answer]:
    """The records of a request that was answered."""
    now, host, classes = server.parts.clock(), host_class(), loaded.predictor.classes
    highest = [(max(row), row) for row in computed.probabilities.tolist()]
    return [
        Answer(
            Prediction(
                id=new_id() if told.ids is None else told.ids[place],
                at=now,
                model_name=loaded.name,
                model_version=loaded.version,
                image_hash="",
                label=classes[row.index(confidence)],
                probabilities=[round(each, 6) for each in row],
                confidence=min(confidence, 1.0),
                latency_ms=told.latency_ms,
                request_id=told.request_id,
                client_id=told.client_id,
                tags=told.tags or None,
                role=told.role,
            ),
            sent.images[place],
            host,
        )
        for place, (confidence, row) in enumerate(highest)
    ]


def _decoded(server: Server, asked: Asked) -> Sent:
    check_text(asked.client_id, "client_id")
    check_text(asked.request_id, "request_id")
    if asked.decode is not None:
        return asked.decode(server.decoder)
    if asked.body is not None:
        return server.decoder.json_body(asked.body)
    tags = read_tags(asked.tags) if asked.tags else check_tags(None)
    if asked.tensor is not None:
        return Sent(asked.tensor.images(server.decoder), {}, tags)
    return Sent(server.decoder.images(asked.pictures), {}, tags)


def _is_small(asked: Asked) -> bool:
    """Whether decoding takes no longer than handing the work to a thread would."""
    if asked.decode is not None:
        return False
    if asked.tensor is not None:
        return len(asked.tensor.data) <= SMALL_BODY
    if asked.body is not None:
        body = asked.body
        return len(body) <= SMALL_BODY and not (
            among_images(body, b'"') and any(mark in body for mark in PICTURE_MARKS)
        )
    return len(asked.pictures) == 1 and is_small(asked.pictures[0])
