"""The server's numbers in a form that Prometheus reads."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlplatform.errors import RecordingError
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.observability.request_timing import NS_PER_SECOND, RequestTiming, StageTiming
from mlplatform.store.database import Database
from tests.support.api_server import ROW_BYTES, loaded, spool_directory_in
from tests.support.spool_rows import answer


def samples(metrics: ServerMetrics) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, ",".join((value for _, value in sorted(sample.labels.items())))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(
        ThreadWriter(Database("sqlite://")),
        spool_directory=spool_directory_in(tmp_path, rows=3),
        batch=1,
        flush_seconds=0,
    )


def test_counts_of_recorder_and_holder_are_read_when_asked(recorder: Recorder) -> None:
    holder = ModelSlot()
    metrics = ServerMetrics("digits", holder.version, recorder)
    assert samples(metrics)["mlplatform_model_version", ""] == 0
    recorder.append([answer(), answer()])
    with pytest.raises(RecordingError):
        recorder.append([answer(), answer()])
    holder.swap(loaded(3))
    found = samples(metrics)
    assert found["mlplatform_model_version", ""] == 3
    states = {state: found["mlplatform_recorder", state] for state in ("recorded", "queued", "dropped", "refused")}
    assert states == {"recorded": 0, "queued": 2, "dropped": 0, "refused": 2}
    assert 0 < found["mlplatform_spool_bytes", "used"] < found["mlplatform_spool_bytes", "limit"] == 3 * ROW_BYTES


def test_counters_carry_their_labels_and_two_servers_share_nothing(recorder: Recorder) -> None:
    one, other = (
        ServerMetrics("digits", ModelSlot().version, recorder),
        ServerMetrics("digits", ModelSlot().version, recorder),
    )
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


def test_observed_stages_batches_lookups_and_lags_are_counted(recorder: Recorder) -> None:
    metrics = ServerMetrics("digits", ModelSlot().version, recorder)
    passage = RequestTiming(
        stages=[StageTiming("decode", 0, NS_PER_SECOND // 1000), StageTiming("infer", 0, NS_PER_SECOND)]
    )
    passage.version, passage.prediction_ids = 4, ("a", "b")
    metrics.on_finished(passage)
    metrics.observe_prediction(4, 2, 0.004, 3)
    metrics.count_cache_lookups("here", 1)
    metrics.observe_label_lag("audit", 3000)
    found = samples(metrics)
    assert found["mlplatform_stage_seconds_sum", "decode"] == pytest.approx(0.001)
    assert found["mlplatform_stage_seconds_count", "infer"] == 1
    assert found["mlplatform_predictions_total", "4"] == 2
    assert (found["mlplatform_batch_images_bucket", "2.0"], found["mlplatform_batch_images_bucket", "4.0"]) == (0, 1)
    assert found["mlplatform_cache_total", "here"] == 1
    assert found["mlplatform_label_lag_seconds_bucket", "3600.0,audit"] == 1


def test_a_request_that_failed_counts_its_stages_and_no_prediction(recorder: Recorder) -> None:
    metrics = ServerMetrics("digits", ModelSlot().version, recorder)
    metrics.on_finished(RequestTiming(stages=[StageTiming("queue", 0, 1)], error="InvalidInputError"))
    found = samples(metrics)
    assert found["mlplatform_stage_seconds_count", "queue"] == 1
    assert not [key for key in found if key[0] == "mlplatform_predictions_total"]


def test_loaded_versions_are_shown_with_their_roles_and_one_that_left_is_gone(recorder: Recorder) -> None:
    holder, roles = ModelSlot(), {"canary": 5}
    metrics = ServerMetrics("digits", holder.version, recorder)
    metrics.register_sources(shadow=lambda: {"recorded": 2}, roles=lambda: roles, depths={"shadow": lambda: 7})
    holder.swap(loaded(3))
    found = samples(metrics)
    assert found["mlplatform_model_info", "digits,champion,3"] == found["mlplatform_model_info", "digits,canary,5"] == 1
    assert (found["mlplatform_shadow", "recorded"], found["mlplatform_queue_depth", "shadow"]) == (2, 7)
    roles.clear()
    assert ("mlplatform_model_info", "digits,canary,5") not in samples(metrics)
