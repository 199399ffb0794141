"""OpenTelemetry out, received by a collector of the test's own; and nothing at all where nobody asked for it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mlplatform.context import AppContext
from mlplatform.serve.api_server import build_server
from mlplatform.serve.observability.opentelemetry_export import ENDPOINT_VARIABLE, start_telemetry
from tests.support.api_server import loaded, running
from tests.support.platform_world import picture

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = {"images": [picture(1).tolist()]}


class Collector:
    """What arrived over OTLP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.services: set[str] = set()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for whole in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {each.key: each.value.string_value for each in whole.resource.attributes}
                self.services.add(named["service.name"])
                self.spans += [span for scope in whole.scope_spans for span in scope.spans]
            return
        for given in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.metrics.update({each.name: each for scope in given.scope_metrics for each in scope.metrics})


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    monkeypatch.setenv(ENDPOINT_VARIABLE, f"http://127.0.0.1:{web.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "digits-api")
    yield made
    web.shutdown()
    web.server_close()
    thread.join()


def test_a_request_is_a_span_of_its_trace_with_its_stages_inside(lite: AppContext, collector: Collector) -> None:
    server = build_server(lite)
    server.model_slot.swap(loaded(1))
    with running(server) as client:
        headers = {"traceparent": f"00-{ID}-{SPAN}-01", "x-request-id": "r-7"}
        made = client.post("/v1/predict", json=BODY, headers=headers).json()["predictions"]
        assert client.post("/v1/predict", json={"images": ["?"]}, headers=headers).status_code == 422
    assert collector.services == {"digits-api"}
    wholes = [span for span in collector.spans if span.name == "predict"]
    assert {span.trace_id.hex() for span in collector.spans} == {ID}
    assert {span.parent_span_id.hex() for span in wholes} == {SPAN}
    [good] = [span for span in wholes if span.status.code == 0]
    [bad] = [span for span in wholes if span.status.code == 2]
    assert bad.status.message == "InvalidInputError"
    about = {each.key: each.value for each in good.attributes}
    assert about["mlplatform.request.id"].string_value == "r-7"
    assert about["mlplatform.model.version"].int_value == 1
    assert [each.string_value for each in about["mlplatform.prediction.ids"].array_value.values] == [made[0]["id"]]
    inside = [span for span in collector.spans if span.parent_span_id == good.span_id]
    assert [span.name for span in inside] == ["decode", "queue", "infer", "record"]
    for span in inside:
        assert good.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= good.end_time_unix_nano
    names = ("stage.duration", "predict.duration", "predictions")
    assert set(collector.metrics) == {f"mlplatform.{name}" for name in names}
    stages = collector.metrics["mlplatform.stage.duration"].histogram.data_points
    assert {point.attributes[0].value.string_value: point.count for point in stages} == {
        "decode": 1,
        "queue": 1,
        "infer": 1,
        "record": 1,
    }


def test_a_trace_that_is_not_sampled_sends_no_span(lite: AppContext, collector: Collector) -> None:
    server = build_server(lite)
    server.model_slot.swap(loaded(1))
    with running(server) as client:
        assert client.post("/v1/predict", json=BODY, headers={"traceparent": f"00-{ID}-{SPAN}-00"}).status_code == 200
    assert collector.spans == []
    assert "mlplatform.predictions" in collector.metrics


def test_without_the_variable_there_is_no_telemetry(lite: AppContext) -> None:
    assert start_telemetry({}, "i") is None
    assert start_telemetry({ENDPOINT_VARIABLE: ""}, "i") is None
    server = build_server(lite, {})
    assert (server.telemetry, server.observers) == (None, (server.metrics,))


def test_without_the_variable_no_library_of_it_is_loaded() -> None:
    code = (
        "import sys\n"
        "from mlplatform.serve.observability.opentelemetry_export import start_telemetry\nstart_telemetry({}, 'i')\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_libraries_that_are_missing_are_told_with_the_remedy() -> None:
    code = (
        "import sys\nsys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
        "from mlplatform.serve.observability.opentelemetry_export import start_telemetry\n"
        "print(start_telemetry({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:9'}, 'i'))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "None"
    assert "pip install 'mlplatform[telemetry]'" in seen.stderr
