"""The server's numbers in a form that Prometheus reads."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlplatform.errors import RecordingError
from mlplatform.serve.holder import Holder
from mlplatform.serve.metrics import Metrics
from mlplatform.serve.recorder import Recorder
from mlplatform.store.database import Database
from tests.mlplatform.serve.conftest import ROW_BYTES, loaded, shelf_in
from tests.mlplatform.serve.test_recorder import answer


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, ",".join((value for _, value in sorted(sample.labels.items())))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(Database("sqlite://"), shelf=shelf_in(tmp_path, rows=3), batch=1, flush_seconds=0)


def test_counts_of_recorder_and_holder_are_read_when_asked(recorder: Recorder) -> None:
    holder = Holder()
    metrics = Metrics(holder, recorder)
    assert samples(metrics)["mlplatform_model_version", ""] == 0
    recorder.put([answer(), answer()])
    with pytest.raises(RecordingError):
        recorder.put([answer(), answer()])
    holder.put(loaded(3))
    found = samples(metrics)
    assert found["mlplatform_model_version", ""] == 3
    states = {state: found["mlplatform_recorder", state] for state in ("recorded", "queued", "dropped", "refused")}
    assert states == {"recorded": 0, "queued": 2, "dropped": 0, "refused": 2}
    assert 0 < found["mlplatform_spool_bytes", "used"] < found["mlplatform_spool_bytes", "limit"] == 3 * ROW_BYTES


def test_counters_carry_their_labels_and_two_servers_share_nothing(recorder: Recorder) -> None:
    one, other = Metrics(Holder(), recorder), Metrics(Holder(), recorder)
    one.requests.labels("/v1/predict", "200").inc()
    one.predictions.labels("2").inc(5)
    one.feedback.labels("audit", "recorded").inc()
    one.latency.observe(0.004)
    found = samples(one)
    assert found["mlplatform_requests_total", "/v1/predict,200"] == 1
    assert found["mlplatform_predictions_total", "2"] == 5
    assert found["mlplatform_feedback_total", "recorded,audit"] == 1
    assert (
        found["mlplatform_prediction_latency_seconds_bucket", "0.0025"],
        found["mlplatform_prediction_latency_seconds_bucket", "0.005"],
    ) == (0, 1)
    assert ("mlplatform_requests_total", "/v1/predict,200") not in samples(other)
