"""Labels are taken together, once, and waited for; what they name must exist."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from mlplatform.auth.caller import ANONYMOUS, Caller
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.retraining.training_labels import load_input_labels
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.routes.feedback_service import FeedbackService
from mlplatform.serve.schemas import FeedbackOut
from mlplatform.store.database import Database
from mlplatform.store.tables.audit import audit_log
from tests.support.api_server import Flaky
from tests.support.platform_world import START, FakeClock, picture, prediction, recorded
from tests.support.spool_rows import answer


def accept_feedback(server: ApiServer, labels: Sequence[FeedbackIn], caller: Caller = ANONYMOUS) -> list[FeedbackOut]:
    return FeedbackService(server.context, server.recorder, server.metrics).accept(labels, caller)


@pytest.fixture
def both(context: AppContext) -> ApiServer:
    """A server that is not started, on either database."""
    return build_server(context)


def label(prediction_id: str, name: str = "4", **changes: object) -> FeedbackIn:
    return FeedbackIn(prediction_id=prediction_id, label=name, **changes)


def notes(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(audit_log.c.action == "feedback")) or 0


def test_labels_are_written_with_a_note_each_and_repeats_with_none(both: ApiServer, database: Database) -> None:
    one, two = recorded(database, prediction(), prediction(seed=1))
    labels = [label(one, reviewer="ann"), label(two, "5", source="audit")]
    assert [item.outcome for item in accept_feedback(both, labels)] == ["recorded", "recorded"]
    assert [item.outcome for item in accept_feedback(both, labels)] == ["repeated", "repeated"]
    assert notes(database) == 2
    with database.read() as connection:
        [kept] = label_records.current_labels(connection, one)
    assert (kept.label, kept.source, kept.at) == ("4", "correction", START)


@pytest.mark.both_databases
def test_one_list_may_correct_itself(both: ApiServer, database: Database, clock: FakeClock) -> None:
    [one] = recorded(database, prediction())
    earlier = label(one, "4", at=START - timedelta(hours=1))
    assert [item.outcome for item in accept_feedback(both, [earlier, label(one, "5"), label(one, "5")])] == [
        "recorded",
        "superseded",
        "repeated",
    ]


def test_one_wrong_label_takes_none(both: ApiServer, database: Database) -> None:
    [one] = recorded(database, prediction())
    with pytest.raises(InvalidInputError, match=r"label 'x' for prediction .* allowed: 0, 1, 2"):
        accept_feedback(both, [label(one), label(one, "x")])
    with pytest.raises(NotFoundError, match=r"1 prediction id\(s\) not known: nobody; nothing was taken"):
        accept_feedback(both, [label(one), label("nobody")])
    with pytest.raises(InvalidInputError, match="in the future"):
        accept_feedback(both, [label(one), label(one, at=START + timedelta(hours=1))])
    with database.read() as connection:
        assert label_records.current_labels(connection, one) == []
    assert notes(database) == 0


def test_a_clock_a_little_ahead_is_no_reason_to_refuse(both: ApiServer, database: Database) -> None:
    [one] = recorded(database, prediction())
    [taken] = accept_feedback(both, [label(one, at=START + timedelta(minutes=4))])
    assert taken.outcome == "recorded"


@pytest.mark.both_databases
def test_a_prediction_on_its_way_to_the_database_is_waited_for(both: ApiServer) -> None:
    both.recorder.start()
    made = answer()
    both.recorder.append([made])
    [taken] = accept_feedback(both, [label(made.prediction.id)])
    both.recorder.close()
    assert taken.outcome == "recorded"


@pytest.mark.both_databases
def test_reviewers_who_label_at_once_all_succeed_and_one_label_stands(both: ApiServer, database: Database) -> None:
    [one] = recorded(database, prediction())
    together = threading.Barrier(6)

    def give(name: str) -> str:
        together.wait()
        return accept_feedback(both, [label(one, name)])[0].outcome

    with ThreadPoolExecutor(6) as people:
        outcomes = list(people.map(give, "012012"))
    assert outcomes.count("recorded") == 1
    with database.read() as connection:
        assert len(label_records.current_labels(connection, one)) == 1


def test_a_race_that_never_ends_is_a_conflict(server: ApiServer, flaky: Flaky) -> None:
    [one] = recorded(flaky, prediction())
    refusal = IntegrityError("insert", {}, Exception("unique"))
    flaky.refusals = [refusal] * 2
    assert accept_feedback(server, [label(one, at=START)])[0].outcome == "recorded"
    flaky.refusals = [refusal] * 3
    with pytest.raises(ConflictError, match="send the labels again"):
        accept_feedback(server, [label(one, "5", at=START)])


def test_the_lag_of_a_new_label_is_measured_once(client: httpx.Client, server: ApiServer) -> None:
    made = client.post("/v1/predict", json={"images": [picture(1).tolist()]}).json()["predictions"][0]["id"]
    for _ in range(2):
        client.post("/v1/feedback", json={"prediction_id": made, "label": "4", "source": "audit"})
    assert 'mlplatform_label_lag_seconds_count{source="audit"} 1.0' in client.get("/metrics").text


def test_a_label_keeps_the_name_of_the_key_it_came_under_whatever_reviewer_it_names(
    both: ApiServer, database: Database
) -> None:
    one, two = recorded(database, prediction(), prediction(seed=1))
    accept_feedback(both, [label(one, reviewer="ledger")], Caller("till", "k1"))
    accept_feedback(both, [label(two, reviewer="ledger")])
    with database.read() as connection:
        feeds = {each.prediction_id: (each.reviewer, each.feed) for each in load_input_labels(connection, "digits")}
    assert feeds == {one: ("ledger", "till"), two: ("ledger", "ledger")}


def test_the_answer_says_what_counts_and_why_the_rest_does_not(both: ApiServer, database: Database) -> None:
    one, two = recorded(database, prediction(), prediction(seed=1))
    counted, picked = accept_feedback(both, [label(one, source="delayed"), label(two)])
    assert (counted.counts, counted.note) == (True, "")
    assert not picked.counts
    assert "picked for being an error" in picked.note
    with pytest.raises(InvalidInputError, match="as a time of zero is written"):
        accept_feedback(both, [label(one, at=START - timedelta(days=20_000))])
