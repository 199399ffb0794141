"""Labels that come before their prediction, twice under one key, or from a model."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import pending_labels
from mlplatform.feedback.label_ingestion import LabelReceipt, expired_label_count, match_pending_labels, record_labels
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.feedback.outcomes import count_unsampled
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.retention.apply_retention import apply_retention, erase_client
from mlplatform.retraining.training_labels import load_input_labels
from mlplatform.serve.inference.idempotency import deterministic_ids
from mlplatform.settings import Settings
from pipelines.data import image_row
from tests.support.label_rows import an_id, current
from tests.support.platform_world import START, FakeClock, picture, prediction, recorded

pytestmark = pytest.mark.both_databases


def label(
    prediction_id: str, name: str = "4", source: LabelSource = "audit", key: str = "", giver: str = "ann"
) -> SubmittedLabel:
    return SubmittedLabel(prediction_id, name, source, giver, START, key)


def outcomes(context: AppContext, *labels: SubmittedLabel, wait: bool = True) -> list[str]:
    return [taken.outcome for taken in record_labels(context, labels, wait=wait)]


@pytest.fixture
def late() -> str:
    """The id of an answer whose row still lies in a spool."""
    return an_id()


def test_a_label_for_a_prediction_on_its_way_waits_and_is_taken_once_when_it_arrives(
    context: AppContext, late: str
) -> None:
    [there] = recorded(context.database, prediction())
    assert outcomes(context, label(late), label(there), label(late)) == ["waiting", "recorded", "waiting"]
    assert outcomes(context, label(late)) == ["waiting"]
    with context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 1
    assert match_pending_labels(context) == 0
    recorded(context.database, prediction(prediction_id=late))
    assert match_pending_labels(context) == 1
    assert current(context, late) == ["4"]
    assert match_pending_labels(context) == 0
    assert outcomes(context, label(late)) == ["repeated"]


def test_without_leave_to_wait_and_for_strange_ids_a_label_is_refused(context: AppContext, late: str) -> None:
    with pytest.raises(NotFoundError):
        outcomes(context, label(late), wait=False)
    for strange in ("nobody", late.upper(), an_id(START - timedelta(days=31)), an_id(START + timedelta(hours=1))):
        with pytest.raises(NotFoundError):
            outcomes(context, label(strange))
    with context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 0


def test_labels_that_wait_are_taken_in_the_order_they_came(context: AppContext, clock: FakeClock, late: str) -> None:
    outcomes(context, label(late, "4"))
    clock.tick(seconds=1)
    outcomes(context, SubmittedLabel(late, "5", "audit", "ann", clock()))
    recorded(context.database, prediction(prediction_id=late))
    assert match_pending_labels(context) == 2
    assert current(context, late) == ["5"]


def test_a_label_that_waited_too_long_is_given_up(context: AppContext, clock: FakeClock, late: str) -> None:
    outcomes(context, label(late))
    clock.tick(days=31)
    match_pending_labels(context)
    recorded(context.database, prediction(prediction_id=late))
    assert match_pending_labels(context) == 0
    assert current(context, late) == []


def test_under_a_key_that_came_before_nothing_is_taken_again(context: AppContext) -> None:
    [one] = recorded(context.database, prediction())
    first = label(one, "4", key="k1")
    assert outcomes(context, first, SubmittedLabel(one, "5", "audit", "ann", START + timedelta(hours=1))) == [
        "recorded",
        "superseded",
    ]
    again = SubmittedLabel(one, "4", "audit", "ann", START + timedelta(hours=2), "k1")
    assert outcomes(context, again) == ["repeated"]
    assert current(context, one) == ["5"]
    with pytest.raises(ConflictError, match="'k1' came before with another label"):
        outcomes(context, label(one, "7", key="k1"))


@pytest.mark.parametrize("giver", ["digits", "Digits:3", "digits v3", "model", "model:resnet", "mlplatform"])
def test_what_a_model_answered_cannot_come_back_as_a_label(context: AppContext, giver: str) -> None:
    [one] = recorded(context.database, prediction())
    with pytest.raises(InvalidInputError, match="is a model"):
        outcomes(context, label(one, giver=giver))
    with pytest.raises(InvalidInputError, match="source 'prediction'"):
        outcomes(context, label(one, source="prediction"))  # type: ignore[arg-type]
    assert current(context, one) == []


def taken(context: AppContext, *labels: SubmittedLabel) -> list[LabelReceipt]:
    return record_labels(context, labels, wait=True)


def from_a_key(key: str = "k") -> str:
    """The id of an answer whose request came under an idempotency key, as every request of the Python client does."""
    [made] = deterministic_ids(key, "client", 1, [image_row(picture(0))])
    return made


@pytest.mark.parametrize("made", [an_id, from_a_key], ids=["drawn", "from a key"])
def test_every_id_that_the_platform_makes_may_still_come(context: AppContext, made: Callable[[], str]) -> None:
    key = made()
    [waits] = taken(context, label(key))
    assert (waits.outcome, waits.counts) == ("waiting", False)
    assert "waits for it until 2026-01-31" in waits.note
    recorded(context.database, prediction(prediction_id=key))
    assert match_pending_labels(context) == 1
    assert current(context, key) == ["4"]


@pytest.mark.parametrize(
    "strange",
    [
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "00000000-0000-8000-0000-000000000000",
        "123e4567-e89b-42d3-a456-426614174000",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "{0198c0de-0000-8000-8000-000000000000}",
        "order-7",
    ],
)
def test_an_id_that_no_prediction_can_have_is_refused(context: AppContext, strange: str) -> None:
    with pytest.raises(NotFoundError, match="the id of a request is none of them"):
        taken(context, label(strange))


@pytest.mark.parametrize("request_id", [an_id(), from_a_key("r")], ids=["version 7", "version 8"])
def test_a_label_by_the_id_of_a_request_is_told_so(context: AppContext, request_id: str) -> None:
    one = prediction()
    [key] = recorded(context.database, PredictionWithInput(replace(one.prediction, request_id=request_id), one.input))
    with pytest.raises(NotFoundError, match="is the id of a request, not of a prediction; nothing was taken"):
        taken(context, label(key), label(request_id))
    assert current(context, key) == []


def test_each_label_says_whether_it_estimates_and_why_not(context: AppContext) -> None:
    keys = recorded(context.database, *(prediction(seed=seed) for seed in range(3)))
    audit, delayed, correction = taken(
        context, label(keys[0]), label(keys[1], source="delayed"), label(keys[2], source="correction")
    )
    assert (audit.counts, audit.note, delayed.counts, delayed.note) == (True, "", True, "")
    assert not correction.counts
    assert "picked for being an error" in correction.note


def test_an_audit_label_of_an_answer_that_nobody_drew_says_that_it_estimates_nothing(context: AppContext) -> None:
    keys = recorded(context.database, *(prediction(START + timedelta(hours=1), seed=seed) for seed in range(3)))
    with context.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, {"uniform": 0.5, "strata": {}}, START)
    for outcome in ("recorded", "repeated"):
        given = taken(context, *map(label, keys))
        assert {each.outcome for each in given} == {outcome}
        assert not any(each.counts for each in given)
        assert all("was not drawn for audit" in each.note for each in given)
    with context.database.read() as connection:
        assert count_unsampled(connection, "digits") == 3
        assert count_unsampled(connection, "letters") == 0


@pytest.mark.parametrize("made", [an_id, from_a_key], ids=["drawn", "from a key"])
def test_a_label_for_a_prediction_that_was_erased_is_told_so_and_the_others_are_taken(
    context: AppContext, made: Callable[[], str]
) -> None:
    key, one = made(), prediction(seed=1)
    recorded(context.database, prediction(prediction_id=key))
    [other] = recorded(context.database, PredictionWithInput(replace(one.prediction, client_id="bob"), one.input))
    erase_client(context, "client", "dpo")
    gone, there = taken(context, label(key), label(other))
    assert (gone.outcome, gone.id, gone.counts, there.outcome) == ("erased", "", False, "recorded")
    assert gone.note == "this prediction was erased; the label is not kept"
    with context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 0


def test_what_retention_removed_is_told_as_erased_however_long_ago(context: AppContext, clock: FakeClock) -> None:
    key = an_id()
    recorded(context.database, prediction(prediction_id=key))
    settings = Settings(_env_file=None, home=context.settings.home, retain_answers_days=10)
    context = context.replace(settings=settings)
    clock.tick(days=11)
    assert apply_retention(context, "watcher").answers == 1
    assert outcomes(context, SubmittedLabel(key, "4", "delayed", "ledger", clock())) == ["erased"]
    clock.tick(days=1_000)
    assert outcomes(context, SubmittedLabel(key, "4", "delayed", "ledger", clock())) == ["erased"]


@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(1601, 1, 1, tzinfo=UTC)])
def test_a_time_of_zero_is_refused(context: AppContext, late: str, at: datetime) -> None:
    [there] = recorded(context.database, prediction())
    for key in (there, late, from_a_key()):
        with pytest.raises(InvalidInputError, match="as a time of zero is written"):
            taken(context, SubmittedLabel(key, "4", "audit", "ann", at))
    assert current(context, there) == []


def test_a_label_for_another_models_prediction_is_refused_with_its_name(context: AppContext) -> None:
    one = prediction()
    [theirs] = recorded(context.database, PredictionWithInput(replace(one.prediction, model_name="letters"), one.input))
    with pytest.raises(InvalidInputError, match="answered by model 'letters', and labels for 'digits' are taken here"):
        taken(context, label(theirs))


def test_a_watcher_takes_no_waiting_label_of_another_model(context: AppContext, late: str) -> None:
    taken(context, label(late))
    one = prediction(prediction_id=late)
    recorded(context.database, PredictionWithInput(replace(one.prediction, model_name="letters"), one.input))
    assert match_pending_labels(context) == 0
    with context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 1


def test_labels_that_are_given_up_are_counted(context: AppContext, clock: FakeClock, late: str) -> None:
    refused, key = an_id(), "k"
    [one] = recorded(context.database, prediction())
    taken(context, label(one, key=key), label(late), label(refused, "5", key=key))
    recorded(context.database, prediction(prediction_id=refused))  # under a key that came before
    match_pending_labels(context)
    with context.database.read() as connection:
        assert expired_label_count(connection, clock()) == 1
    clock.tick(days=31)
    match_pending_labels(context)
    with context.database.read() as connection:
        assert expired_label_count(connection, clock()) == 1
        assert expired_label_count(connection, clock() + timedelta(days=40)) == 0
        assert pending_labels.count_pending(connection) == 0


def test_a_label_that_waited_keeps_the_feed_it_came_by(context: AppContext, late: str) -> None:
    taken(context, replace(label(late), feed="ledger key"))
    recorded(context.database, prediction(prediction_id=late))
    match_pending_labels(context)
    with context.database.read() as connection:
        [given] = load_input_labels(connection, "digits")
    assert (given.reviewer, given.feed) == ("ann", "ledger key")
