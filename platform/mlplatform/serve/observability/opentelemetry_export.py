"""OpenTelemetry out: a span per prediction request with its stages, and their metrics; nothing where it is not wanted.

Wanted means that `OTEL_EXPORTER_OTLP_ENDPOINT` is set and the extra `telemetry` is installed. Names, headers, sampling
and intervals are set by OpenTelemetry's own variables. Spans and metrics are sent from its threads; what cannot be sent
is lost there and hurts nobody.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mlplatform.serve.observability.request_timing import Passage
from mlplatform.serve.observability.trace_context import read_trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AnyValue

log = logging.getLogger(__name__)
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
SCOPE: Final = "mlplatform.serve"


def begin_telemetry(environment: Mapping[str, str], instance: str) -> "Telemetry | None":
    """What sends spans and metrics, None where nobody asked for them or the libraries are not there."""
    if not environment.get(ENDPOINT):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning("%s is set, and its libraries are not installed: pip install 'mlplatform[telemetry]'", ENDPOINT)
        return None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = environment.get("OTEL_SERVICE_NAME", "mlplatform")
    resource = Resource.create({"service.name": name, "service.instance.id": instance})
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return Telemetry(traces, MeterProvider([reader], resource=resource, shutdown_on_exit=False))


class Telemetry:
    """Tells OpenTelemetry of every request."""

    def __init__(self, traces: "TracerProvider", metrics: "MeterProvider") -> None:
        self._traces, self._metrics = traces, metrics
        self._tracer = traces.get_tracer(SCOPE)
        meter = metrics.get_meter(SCOPE)
        self._stages = meter.create_histogram("mlplatform.stage.duration", "s", "Time of a request's stages.")
        self._requests = meter.create_histogram("mlplatform.predict.duration", "s", "Time of prediction requests.")
        self._predictions = meter.create_counter("mlplatform.predictions", "1", "Predictions by version and role.")
        self._offset = time.time_ns() - time.perf_counter_ns()

    def passed(self, passage: Passage) -> None:
        """Note one request; its span ends now and is sent later."""
        from opentelemetry import trace

        about: dict[str, AnyValue] = {
            "mlplatform.model.version": passage.version,
            "mlplatform.role": passage.role,
        }
        ended = {"error": bool(passage.error)}
        self._requests.record(passage.seconds, ended)
        if passage.prediction_ids:
            self._predictions.add(len(passage.prediction_ids), about)
        whole = self._tracer.start_span(
            "predict",
            context=_parent(passage.trace),
            kind=trace.SpanKind.SERVER,
            start_time=passage.begun + self._offset,
            attributes={
                **about,
                "mlplatform.request.id": passage.request_id,
                "mlplatform.prediction.ids": passage.prediction_ids,
            },
        )
        if passage.error:
            whole.set_status(trace.StatusCode.ERROR, passage.error)
        inside = trace.set_span_in_context(whole)
        for stage in passage.stages:
            self._stages.record(stage.seconds, {"stage": stage.name})
            part = self._tracer.start_span(stage.name, context=inside, start_time=stage.begun + self._offset)
            part.end(stage.ended + self._offset)
        whole.end(passage.ended + self._offset)

    def close(self) -> None:
        """Send what waits and stop."""
        self._traces.shutdown()
        self._metrics.shutdown()


def _parent(header: str) -> "Context | None":
    """The span that sent the request, as OpenTelemetry has it."""
    from opentelemetry import trace

    found = read_trace(header)
    if found is None:
        return None
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if found.sampled else trace.TraceFlags.DEFAULT)
    sender = trace.SpanContext(int(found.trace_id, 16), int(found.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(sender))
