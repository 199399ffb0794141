"""Exports prediction requests to OpenTelemetry: a span with its stages, and metrics.

It is on where `OTEL_EXPORTER_OTLP_ENDPOINT` is set and the extra `telemetry` is installed. Names, headers, sampling
and intervals are set by OpenTelemetry's own variables. Spans and metrics are sent from its threads; what cannot be sent
is lost there and hurts nobody.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mlplatform.serve.observability.request_timing import RequestTiming
from mlplatform.serve.observability.trace_context import parse_traceparent

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AnyValue

log = logging.getLogger(__name__)
ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
INSTRUMENTATION_SCOPE: Final = "mlplatform.serve"


def start_telemetry(environment: Mapping[str, str], instance: str) -> "OpenTelemetryExporter | None":
    """What sends spans and metrics, None where nobody asked for them or the libraries are not there."""
    if not environment.get(ENDPOINT_VARIABLE):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning(
            "%s is set, and its libraries are not installed: pip install 'mlplatform[telemetry]'", ENDPOINT_VARIABLE
        )
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
    return OpenTelemetryExporter(traces, MeterProvider([reader], resource=resource, shutdown_on_exit=False))


class OpenTelemetryExporter:
    """Exports every request to OpenTelemetry."""

    def __init__(self, traces: "TracerProvider", metrics: "MeterProvider") -> None:
        self._traces, self._metrics = traces, metrics
        self._tracer = traces.get_tracer(INSTRUMENTATION_SCOPE)
        meter = metrics.get_meter(INSTRUMENTATION_SCOPE)
        self._stages = meter.create_histogram("mlplatform.stage.duration", "s", "Time of a request's stages.")
        self._requests = meter.create_histogram("mlplatform.predict.duration", "s", "Time of prediction requests.")
        self._predictions = meter.create_counter("mlplatform.predictions", "1", "Predictions by version and role.")
        self._offset = time.time_ns() - time.perf_counter_ns()

    def on_finished(self, timing: RequestTiming) -> None:
        """Note one request; its span ends now and is sent later."""
        from opentelemetry import trace

        about: dict[str, AnyValue] = {
            "mlplatform.model.version": timing.version,
            "mlplatform.role": timing.role,
        }
        ended = {"error": bool(timing.error)}
        self._requests.record(timing.seconds, ended)
        if timing.prediction_ids:
            self._predictions.add(len(timing.prediction_ids), about)
        whole = self._tracer.start_span(
            "predict",
            context=_parent_context(timing.traceparent),
            kind=trace.SpanKind.SERVER,
            start_time=timing.started_ns + self._offset,
            attributes={
                **about,
                "mlplatform.request.id": timing.request_id,
                "mlplatform.prediction.ids": timing.prediction_ids,
            },
        )
        if timing.error:
            whole.set_status(trace.StatusCode.ERROR, timing.error)
        inside = trace.set_span_in_context(whole)
        for stage in timing.stages:
            self._stages.record(stage.seconds, {"stage": stage.name})
            part = self._tracer.start_span(stage.name, context=inside, start_time=stage.started_ns + self._offset)
            part.end(stage.ended_ns + self._offset)
        whole.end(timing.ended_ns + self._offset)

    def close(self) -> None:
        """Send what waits and stop."""
        self._traces.shutdown()
        self._metrics.shutdown()


def _parent_context(header: str) -> "Context | None":
    """The span that sent the request, as OpenTelemetry has it."""
    from opentelemetry import trace

    trace_context = parse_traceparent(header)
    if trace_context is None:
        return None
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if trace_context.sampled else trace.TraceFlags.DEFAULT)
    sender = trace.SpanContext(
        int(trace_context.trace_id, 16), int(trace_context.span_id, 16), is_remote=True, trace_flags=flags
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(sender))
