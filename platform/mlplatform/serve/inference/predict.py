"""Answers one prediction request: decode, infer, record, respond. The protocols of `serve/protocols` end here."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from mlplatform.clock import Clock
from mlplatform.errors import ModelUnavailableError
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.promotion.rollouts import CANARY_ROLE, CHAMPION_ROLE
from mlplatform.recording.recorder import Recorder
from mlplatform.serve.host_class import host_class
from mlplatform.serve.inference.batcher import BatchResult
from mlplatform.serve.inference.decoded_request import DecodedRequest
from mlplatform.serve.inference.idempotency import IdempotencyCache, deterministic_ids
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from mlplatform.serve.inference.predict_result import PredictResult
from mlplatform.serve.inference.prediction_cache import CachedInference
from mlplatform.serve.inference.raw_tensor import RawTensor
from mlplatform.serve.inference.request_decoder import (
    Decoder,
    Decoders,
    ImageDecoder,
    image_decoder,
    is_small_png,
    occurs_in_images,
)
from mlplatform.serve.inference.request_fields import (
    MAX_TAGS,
    SMALL_BODY_BYTES,
    parse_tags,
    validate_tags,
    validate_text,
)
from mlplatform.serve.inference.rollout_router import RolloutRouter
from mlplatform.serve.inference.shadow_inference import ShadowInference
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.observability.request_timing import InFlight, RequestObserver, RequestTiming
from mlplatform.serve.observability.trace_context import add_trace_tag, parse_traceparent
from mlplatform.serve.schemas import PredictOut
from mlplatform.serve.thread_pool import ThreadPool
from mlplatform.store.prediction import PredictionRecord
from pipelines.batch import Batch
from pipelines.input_row import InputRow

BASE64_IMAGE_PREFIXES: Final = (b"iVBOR", b"/9j", b"\\")
"""How a PNG or a JPEG begins in base64, and what could hide that."""


@dataclass(frozen=True)
class PredictRequest:
    """A request's content: JSON body, pictures' bytes, a raw tensor, or what another protocol decodes; and who asks.

    `version` is the one version that may answer, None for whichever serves. A request sent again under its
    `idempotency_key` gets the same answer.
    """

    body: bytes | None = None
    images: tuple[bytes, ...] = ()
    client_id: str = ""
    request_id: str = ""
    tags: str = ""
    tensor: RawTensor | None = None
    decode: Callable[[Decoder], DecodedRequest] | None = None
    version: int | None = None
    idempotency_key: str = ""
    traceparent: str = ""


@dataclass(frozen=True)
class PredictionService:
    """Answers the prediction requests of one server; used from its event loop."""

    clock: Clock
    decoders: Decoders
    model_slot: ModelSlot
    rollout_router: RolloutRouter
    inference: CachedInference
    thread_pool: ThreadPool
    recorder: Recorder
    shadow_inference: ShadowInference
    metrics: ServerMetrics
    in_flight: InFlight
    observers: tuple[RequestObserver, ...]
    idempotency_cache: IdempotencyCache

    async def predict(self, request: PredictRequest, content: bytes) -> PredictOut:
        """Answer; a request sent again under its idempotency key, with the same content, gets the same answer."""

        async def once() -> PredictOut:
            return (await self._traced(request)).to_response()

        return await (
            self.idempotency_cache.get_or_run(request.idempotency_key, content, once)
            if request.idempotency_key
            else once()
        )

    async def predict_json(self, request: PredictRequest, content: bytes) -> bytes:
        """The same as JSON."""
        if request.idempotency_key:
            return orjson.dumps((await self.predict(request, content)).model_dump())
        return (await self._traced(request)).to_json()

    async def _traced(self, request: PredictRequest) -> PredictResult:
        """The answer, with every observer told how the request went."""
        timing = RequestTiming(traceparent=request.traceparent)
        with self.in_flight:
            try:
                return await self._run(request, timing)
            except Exception as error:
                timing.error = type(error).__name__
                raise
            finally:
                timing.ended_ns = time.perf_counter_ns()
                for observer in self.observers:
                    observer.on_finished(timing)

    async def _run(self, request: PredictRequest, timing: RequestTiming) -> PredictResult:
        """Decode, infer, record; the event loop is held up no longer than a small body needs.

        Raises the typed input errors, ModelUnavailableError and RecordingError.
        """
        # Decode: small bodies here, larger ones on a thread.
        champion = self.model_slot.get()
        decoder = self.decoders.of(champion.predictor)
        started_ns = time.perf_counter_ns()
        decoded = (
            _decode(request, decoder)
            if _is_small(request, decoder)
            else await self.thread_pool.run(_decode, request, decoder)
        )
        decode_seconds = timing.record_stage("decode", started_ns).seconds
        trace = parse_traceparent(request.traceparent) if request.traceparent else None
        client_id = decoded.fields.get("client_id") or request.client_id
        request_id = (
            decoded.fields.get("request_id") or request.request_id or (trace.trace_id if trace else _request_id())
        )

        codec = decoder.codec
        rows = codec.rows(decoded.batch) if decoded.rows is None else decoded.rows
        identities = rows if codec.identifies else None

        # Infer: the version that this client meets; where a canary fails, the champion.
        model, role = self.rollout_router.route(champion, client_id or request_id, request.version)
        computed = (
            await self._predict_with_canary(
                model, decoded.batch, identities, version_requested=request.version is not None
            )
            if role == CANARY_ROLE
            else None
        )
        if computed is None:
            model, role = champion, CHAMPION_ROLE
            computed = await self.inference.infer(champion, decoded.batch, identities)
        timing.record_inference(computed.seconds)
        spent_ms = (decode_seconds + computed.seconds) * 1000

        # Record: the rows are on disk before anybody is answered.
        context = _ResponseContext(
            request_id,
            client_id,
            decoded.tags if trace is None else add_trace_tag(decoded.tags, trace, request_id, MAX_TAGS),
            role,
            spent_ms / len(decoded.batch),
            deterministic_ids(request.idempotency_key, client_id, model.version, rows)
            if request.idempotency_key
            else None,
            decoded.references,
            decoded.subjects,
            [add_trace_tag(tags, trace, request_id, MAX_TAGS) for tags in decoded.row_tags],
        )
        started_ns = time.perf_counter_ns()
        records = _prediction_records(self.clock(), model, rows, computed, context)
        lost = self.recorder.append(records)
        if self.recorder.must_wait:
            await self.recorder.wait_durable(len(records))
        timing.record_stage("record", started_ns)
        timing.request_id, timing.version, timing.role = request_id, model.version, role
        timing.prediction_ids = tuple([record.prediction.id for record in records])

        # Respond; a shadow is offered the same rows, and nobody waits for it.
        if self.rollout_router.for_champion(champion) is not None:
            self.shadow_inference.enqueue(champion, role, timing.prediction_ids, decoded.batch)
        self.metrics.observe_prediction(model.version, len(records), spent_ms / 1000, computed.batch_size)
        return PredictResult(model, records, request_id, round(spent_ms, 3), lost == 0)

    async def _predict_with_canary(
        self, model: LoadedModel, batch: Batch, rows: Sequence[InputRow] | None, *, version_requested: bool
    ) -> BatchResult | None:
        """What the canary answers, counted; None where it fails.

        Raises ModelUnavailableError where it fails and was asked for by its version: no other one may answer.
        """
        try:
            computed = await self.inference.infer(model, batch, rows)
        except ModelUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a challenger does wrong, the champion answers
            self.rollout_router.record_failure(model, len(batch), error)
        else:
            if self.rollout_router.record_success(model, computed.probabilities):
                return computed
        if version_requested:
            raise ModelUnavailableError(
                f"version {model.version} failed to answer; ask for none, and the champion answers"
            )
        return None


def _request_id() -> str:
    """An id for a request, in the form of a trace's: it cannot be taken for that of a prediction."""
    return uuid7().replace("-", "")


@dataclass(frozen=True)
class _ResponseContext:
    """What all answers of one request share; `ids` where its key decides them."""

    request_id: str
    client_id: str
    tags: dict[str, str]
    role: str
    latency_ms: float
    ids: Sequence[str] | None
    references: Sequence[str]
    subjects: Sequence[str]
    row_tags: Sequence[dict[str, str]]
    """Each row's own, in place of `tags`; empty where all rows share those."""


def _prediction_records(
    now: datetime,
    model: LoadedModel,
    rows: Sequence[InputRow],
    computed: BatchResult,
    response_context: _ResponseContext,
) -> list[PredictionWithInput]:
    """The records of a request that was answered."""
    host = host_class()
    return [
        PredictionWithInput(
            PredictionRecord(
                id=uuid7() if response_context.ids is None else response_context.ids[index],
                at=now,
                model_name=model.name,
                model_version=model.version,
                image_hash="",
                label=answer.label,
                probabilities=[round(share, 6) for share in answer.shares],
                confidence=answer.confidence,
                latency_ms=response_context.latency_ms,
                request_id=response_context.request_id,
                client_id=response_context.client_id,
                tags=(response_context.row_tags[index] if response_context.row_tags else response_context.tags) or None,
                role=response_context.role,
                reference=response_context.references[index] if response_context.references else "",
                subject=response_context.subjects[index] if response_context.subjects else "",
                label_class=answer.counted_as,
            ),
            rows[index],
            host,
        )
        for index, answer in enumerate(model.predictor.reader.answers(computed.probabilities))
    ]


def _decode(predict_request: PredictRequest, decoder: Decoder) -> DecodedRequest:
    validate_text(predict_request.client_id, "client_id")
    validate_text(predict_request.request_id, "request_id")
    if predict_request.decode is not None:
        return predict_request.decode(decoder)
    if predict_request.body is not None:
        return decoder.decode_json(predict_request.body)
    pictures = image_decoder(decoder)
    tags = parse_tags(predict_request.tags) if predict_request.tags else validate_tags(None)
    if predict_request.tensor is not None:
        return DecodedRequest(predict_request.tensor.to_model_input(pictures), {}, tags)
    return DecodedRequest(pictures.decode(predict_request.images), {}, tags)


def _is_small(predict_request: PredictRequest, decoder: Decoder) -> bool:
    """Whether decoding takes no longer than handing the work to a thread would."""
    if predict_request.decode is not None:
        return False
    if predict_request.tensor is not None:
        return len(predict_request.tensor.data) <= SMALL_BODY_BYTES
    if predict_request.body is not None:
        body = predict_request.body
        return len(body) <= SMALL_BODY_BYTES and not (
            isinstance(decoder, ImageDecoder)
            and occurs_in_images(body, b'"')
            and any(mark in body for mark in BASE64_IMAGE_PREFIXES)
        )
    return len(predict_request.images) == 1 and is_small_png(predict_request.images[0])
