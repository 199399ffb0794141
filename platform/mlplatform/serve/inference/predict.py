"""One prediction request from its content to answers; it knows no HTTP and writes nothing itself.

`answer` decodes, asks cache and model and keeps the records; `ask` and `reply` give the same as a model
and as JSON, and know requests that were sent again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from mlplatform.clock import uuid7
from mlplatform.errors import ModelUnavailableError
from mlplatform.promotion.rollouts import CANARY_ROLE, CHAMPION_ROLE
from mlplatform.recording.recorder import SpooledPrediction
from mlplatform.schema_base import ModelName
from mlplatform.serve.inference.batcher import BatchResult
from mlplatform.serve.inference.cached_inference import infer
from mlplatform.serve.inference.idempotency import deterministic_ids
from mlplatform.serve.inference.image_codec import (
    MAX_TAGS,
    SMALL_BODY_BYTES,
    DecodedRequest,
    ImageDecoder,
    is_small_png,
    occurs_in_images,
    parse_tags,
    validate_tags,
    validate_text,
)
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.observability.request_timing import RequestTiming
from mlplatform.serve.observability.trace_context import add_trace_tag, parse_traceparent
from mlplatform.serve.protocols.raw_tensor import RawTensor
from mlplatform.serve.schemas import PredictionOut, PredictOut
from mlplatform.serve.state import ApiServer
from mlplatform.serve.tuning.tuner import host_class
from mlplatform.store.prediction import PredictionRecord

BASE64_IMAGE_PREFIXES: Final = (b"iVBOR", b"/9j", b"\\")
"""How a PNG or a JPEG begins in base64, and what could hide that."""


@dataclass(frozen=True)
class PredictRequest:
    """A request's content: JSON body, picture bytes, a raw tensor, or what another protocol decodes; and who asks.

    `version` is the one version that may answer, None for whichever serves. `key` names the request for good: sent
    again, it is the same answer. `trace` is the `traceparent` that it came with.
    """

    body: bytes | None = None
    images: tuple[bytes, ...] = ()
    client_id: str = ""
    request_id: str = ""
    tags: str = ""
    tensor: RawTensor | None = None
    decode: Callable[[ImageDecoder], DecodedRequest] | None = None
    version: int | None = None
    idempotency_key: str = ""
    traceparent: str = ""


@dataclass(frozen=True)
class PredictResult:
    """What a request became: its records, and what is said about it."""

    model: LoadedModel
    rows: list[SpooledPrediction] = field(repr=False)
    request_id: str
    latency_ms: float
    recorded: bool

    def to_response(self) -> PredictOut:
        """The reply as a model."""
        classes, model = self.model.predictor.classes, ModelName(name=self.model.name, version=self.model.version)
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
            request_id=self.request_id, predictions=predictions, latency_ms=self.latency_ms, recorded=self.recorded
        )

    def to_json(self) -> bytes:
        """The same as JSON, without the time a model takes to be checked."""
        classes, model = self.model.predictor.classes, {"name": self.model.name, "version": self.model.version}
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
                "latency_ms": self.latency_ms,
                "recorded": self.recorded,
            }
        )


async def predict(server: ApiServer, predict_request: PredictRequest, content: bytes) -> PredictOut:
    """Answer; a request sent again under its key, with the same content, is answered alike."""

    async def once() -> PredictOut:
        return (await _traced(server, predict_request)).to_response()

    return await (
        server.idempotency_cache.get_or_run(predict_request.idempotency_key, content, once)
        if predict_request.idempotency_key
        else once()
    )


async def predict_json(server: ApiServer, predict_request: PredictRequest, content: bytes) -> bytes:
    """The same as JSON."""
    if predict_request.idempotency_key:
        return orjson.dumps((await predict(server, predict_request, content)).model_dump())
    return (await _traced(server, predict_request)).to_json()


async def _traced(server: ApiServer, predict_request: PredictRequest) -> PredictResult:
    """The answer, with every observer told how the request went."""
    passage = RequestTiming(traceparent=predict_request.traceparent)
    with server.in_flight:
        try:
            return await run_prediction(server, predict_request, passage)
        except Exception as error:
            passage.error = type(error).__name__
            raise
        finally:
            passage.ended_ns = time.perf_counter_ns()
            for observer in server.observers:
                observer.on_finished(passage)


async def run_prediction(server: ApiServer, predict_request: PredictRequest, timing: RequestTiming) -> PredictResult:
    """Decode, ask the model, keep the records; the event loop is held up no longer than a small body needs.

    Raises the typed input errors, ModelUnavailableError and RecordingError.
    """
    champion = server.model_slot.get()
    begun = time.perf_counter_ns()
    sent = (
        _decode(server, predict_request)
        if _is_small(predict_request)
        else await server.thread_pool.run(_decode, server, predict_request)
    )
    decoded, trace = timing.record_stage("decode", begun).seconds, parse_traceparent(predict_request.traceparent)
    client_id = sent.fields.get("client_id") or predict_request.client_id
    request_id = (
        sent.fields.get("request_id") or predict_request.request_id or (trace.trace_id if trace else _request_id())
    )
    loaded, role = server.rollout_router.route(champion, client_id or request_id, predict_request.version)
    computed = (
        await _predict_with_canary(server, loaded, sent, version_requested=predict_request.version is not None)
        if role == CANARY_ROLE
        else None
    )
    if computed is None:  # a canary that failed hurts nobody
        loaded, role = champion, CHAMPION_ROLE
        computed = await infer(server, champion, sent.images)
    timing.record_inference(computed.seconds)
    spent_ms = (decoded + computed.seconds) * 1000
    tags = add_trace_tag(sent.tags, trace, request_id, MAX_TAGS)
    ids = (
        deterministic_ids(predict_request.idempotency_key, client_id, loaded.version, sent.images)
        if predict_request.idempotency_key
        else None
    )
    told = _ResponseContext(request_id, client_id, tags, role, spent_ms / len(sent.images), ids)
    begun = time.perf_counter_ns()
    rows = _prediction_rows(server, loaded, sent, computed, told)
    lost = server.recorder.append(rows)
    if server.recorder.must_wait:
        await server.recorder.wait_durable(len(rows))
    timing.record_stage("record", begun)
    timing.request_id, timing.version, timing.role = request_id, loaded.version, role
    timing.prediction_ids = tuple([row.prediction.id for row in rows])
    server.shadow_inference.enqueue(champion, role, timing.prediction_ids, sent.images)
    server.metrics.observe_prediction(loaded.version, len(rows), spent_ms / 1000, computed.batch_size)
    return PredictResult(loaded, rows, request_id, round(spent_ms, 3), lost == 0)


def _request_id() -> str:
    """An id for a request, in the form of a trace's: it cannot be taken for that of a prediction."""
    return uuid7().replace("-", "")


async def _predict_with_canary(
    server: ApiServer, model: LoadedModel, decoded: DecodedRequest, *, version_requested: bool
) -> BatchResult | None:
    """What the canary answers, counted; None where it fails.

    Raises ModelUnavailableError where it fails and was asked for by its version: no other one may answer.
    """
    try:
        computed = await infer(server, model, decoded.images)
    except ModelUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a challenger does wrong, the champion answers
        server.rollout_router.record_failure(model, len(decoded.images), error)
    else:
        if server.rollout_router.record_success(model, computed.probabilities):
            return computed
    if version_requested:
        raise ModelUnavailableError(f"version {model.version} failed to answer; ask for none, and the champion answers")
    return None


@dataclass(frozen=True)
class _ResponseContext:
    """What all answers of one request share; `ids` where its key decides them."""

    request_id: str
    client_id: str
    tags: dict[str, str]
    role: str
    latency_ms: float
    ids: Sequence[str] | None


def _prediction_rows(
    server: ApiServer,
    model: LoadedModel,
    decoded: DecodedRequest,
    computed: BatchResult,
    response_context: _ResponseContext,
) -> list[SpooledPrediction]:
    """The records of a request that was answered."""
    now, host, classes = server.context.clock(), host_class(), model.predictor.classes
    highest = [(max(row), row) for row in computed.probabilities.tolist()]
    return [
        SpooledPrediction(
            PredictionRecord(
                id=uuid7() if response_context.ids is None else response_context.ids[place],
                at=now,
                model_name=model.name,
                model_version=model.version,
                image_hash="",
                label=classes[row.index(confidence)],
                probabilities=[round(each, 6) for each in row],
                confidence=min(confidence, 1.0),
                latency_ms=response_context.latency_ms,
                request_id=response_context.request_id,
                client_id=response_context.client_id,
                tags=response_context.tags or None,
                role=response_context.role,
            ),
            decoded.images[place],
            host,
        )
        for place, (confidence, row) in enumerate(highest)
    ]


def _decode(server: ApiServer, predict_request: PredictRequest) -> DecodedRequest:
    validate_text(predict_request.client_id, "client_id")
    validate_text(predict_request.request_id, "request_id")
    if predict_request.decode is not None:
        return predict_request.decode(server.decoder)
    if predict_request.body is not None:
        return server.decoder.decode_json(predict_request.body)
    tags = parse_tags(predict_request.tags) if predict_request.tags else validate_tags(None)
    if predict_request.tensor is not None:
        return DecodedRequest(predict_request.tensor.to_model_input(server.decoder), {}, tags)
    return DecodedRequest(server.decoder.decode_images(predict_request.images), {}, tags)


def _is_small(predict_request: PredictRequest) -> bool:
    """Whether decoding takes no longer than handing the work to a thread would."""
    if predict_request.decode is not None:
        return False
    if predict_request.tensor is not None:
        return len(predict_request.tensor.data) <= SMALL_BODY_BYTES
    if predict_request.body is not None:
        body = predict_request.body
        return len(body) <= SMALL_BODY_BYTES and not (
            occurs_in_images(body, b'"') and any(mark in body for mark in BASE64_IMAGE_PREFIXES)
        )
    return len(predict_request.images) == 1 and is_small_png(predict_request.images[0])
