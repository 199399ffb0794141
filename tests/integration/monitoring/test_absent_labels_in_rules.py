"""While the labels of silence are not written, the labels of those that left decide nothing."""

import pytest

from mlplatform.alerting import detector_state
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.feedback.absent_labels import write_absent_labels
from mlplatform.monitoring import detector_inputs
from monitors.statistics.e_detector import has_alarmed
from tests.support.monitoring_world import (
    all_alerts,
    all_evaluations,
    all_retrainings,
    counting,
    look,
    promote,
    tick,
    with_rules,
)
from tests.support.platform_world import prediction, recorded

RULES = """\
version: 1
model: digits
schedule: {every: 1m}
absent: {label: "3", after: 1h}
rules:
  - {name: drop, metric: accuracy_drop, above: 5 points, window: 9h, min_samples: 5,%s action: retrain}
"""
ANSWERS = 25
MINUTES = 10
READ_AT_ONCE = 20


@pytest.fixture(params=["", " false_alarms: 1 per 90d,", " false_alarms: 1 per 90d, block: 1h,"])
def paused(context: AppContext, request: pytest.FixtureRequest) -> AppContext:
    """A model that misreads one answer of a minute, whose truth comes at once; no watcher writes what is silent."""
    promote(with_rules(context, RULES % request.param), correct=960)
    for _ in range(MINUTES):
        ids = recorded(context.database, *(prediction(context.clock(), label="3") for _ in range(ANSWERS)))
        given = label_records.SubmittedLabel(ids[0], "5", "delayed", "ledger", context.clock())
        with context.database.write() as connection:
            label_records.insert_labels(connection, [given], context.clock())
        tick(context, minutes=1)
    tick(context, hours=5)
    recorded(context.database, prediction(context.clock(), label="3"))
    return context


@pytest.mark.parametrize("read_at_once", [READ_AT_ONCE, detector_inputs.MAX_LABELS_PER_READ])
def test_labels_of_those_that_left_alarm_nobody(
    paused: AppContext, monkeypatch: pytest.MonkeyPatch, read_at_once: int
) -> None:
    monkeypatch.setattr(detector_inputs, "MAX_LABELS_PER_READ", read_at_once)
    look(paused, "drop", counting)
    assert all_evaluations(paused)[0].state == "no-data"
    assert write_absent_labels(paused, paused.rules.absent) == MINUTES * (ANSWERS - 1)
    for _ in range(2 + 2 * (MINUTES * ANSWERS // read_at_once)):  # each label comes, and its answer matures
        tick(paused, minutes=1)
        look(paused, "drop", counting)
    newest = all_evaluations(paused)[0]
    assert (newest.state, newest.findings[0]["n"]) == ("ok", MINUTES * ANSWERS)
    assert (all_alerts(paused), all_retrainings(paused)) == ([], [])


def test_who_looks_when_all_is_written_reads_those_that_left_among_the_others(
    paused: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_inputs, "MAX_LABELS_PER_READ", READ_AT_ONCE)
    write_absent_labels(paused, paused.rules.absent)
    for _ in range(3):
        tick(paused, minutes=1)
        look(paused, "drop", counting)
        with paused.database.read() as connection:
            state = detector_state.load_state(connection, "digits", 1, "drop")
        detectors = {} if state is None else detector_inputs.label_detectors(state)
        assert [name for name, detector in detectors.items() if has_alarmed(detector)] == []
