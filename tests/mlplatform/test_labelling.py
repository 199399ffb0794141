"""Labels that come before their prediction, twice under one key, or from a model."""

from datetime import datetime, timedelta

import pytest

from mlplatform.build import Parts
from mlplatform.clock import new_id
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.labelling import match_waiting, write_labels
from mlplatform.store import feedback, waiting
from mlplatform.store.feedback import Label
from mlplatform.store.truths import Source
from tests.mlplatform.conftest import START, FakeClock, prediction, recorded


def an_id(at: datetime = START) -> str:
    return new_id(lambda: at)


def label(prediction_id: str, name: str = "4", source: Source = "audit", key: str = "", giver: str = "ann") -> Label:
    return Label(prediction_id, name, source, giver, START, key)


def outcomes(parts: Parts, *labels: Label, wait: bool = True) -> list[str]:
    return [taken.outcome for taken in write_labels(parts, labels, wait=wait)]


def current(parts: Parts, prediction_id: str) -> list[str]:
    with parts.database.read() as connection:
        return [each.label for each in feedback.of_prediction(connection, prediction_id)]


@pytest.fixture
def late() -> str:
    """The id of an answer whose row still lies in a spool."""
    return an_id()


def test_a_label_for_a_prediction_on_its_way_waits_and_is_taken_once_when_it_arrives(parts: Parts, late: str) -> None:
    [there] = recorded(parts.database, prediction())
    assert outcomes(parts, label(late), label(there), label(late)) == ["waiting", "recorded", "waiting"]
    assert outcomes(parts, label(late)) == ["waiting"]
    with parts.database.read() as connection:
        assert waiting.count(connection) == 1
    assert match_waiting(parts) == 0
    recorded(parts.database, prediction(prediction_id=late))
    assert match_waiting(parts) == 1
    assert current(parts, late) == ["4"]
    assert match_waiting(parts) == 0
    assert outcomes(parts, label(late)) == ["repeated"]


def test_without_leave_to_wait_and_for_strange_ids_a_label_is_refused(parts: Parts, late: str) -> None:
    with pytest.raises(NotFoundError):
        outcomes(parts, label(late), wait=False)
    for strange in ("nobody", late.upper(), an_id(START - timedelta(days=31)), an_id(START + timedelta(hours=1))):
        with pytest.raises(NotFoundError):
            outcomes(parts, label(strange))
    with parts.database.read() as connection:
        assert waiting.count(connection) == 0


def test_labels_that_wait_are_taken_in_the_order_they_came(parts: Parts, clock: FakeClock, late: str) -> None:
    outcomes(parts, label(late, "4"))
    clock.tick(seconds=1)
    outcomes(parts, Label(late, "5", "audit", "ann", clock()))
    recorded(parts.database, prediction(prediction_id=late))
    assert match_waiting(parts) == 2
    assert current(parts, late) == ["5"]


def test_a_label_that_waited_too_long_is_given_up(parts: Parts, clock: FakeClock, late: str) -> None:
    outcomes(parts, label(late))
    clock.tick(days=31)
    match_waiting(parts)
    recorded(parts.database, prediction(prediction_id=late))
    assert match_waiting(parts) == 0
    assert current(parts, late) == []


def test_under_a_key_that_came_before_nothing_is_taken_again(parts: Parts) -> None:
    [one] = recorded(parts.database, prediction())
    first = label(one, "4", key="k1")
    assert outcomes(parts, first, Label(one, "5", "audit", "ann", START + timedelta(hours=1))) == [
        "recorded",
        "superseded",
    ]
    again = Label(one, "4", "audit", "ann", START + timedelta(hours=2), "k1")
    assert outcomes(parts, again) == ["repeated"]
    assert current(parts, one) == ["5"]
    with pytest.raises(ConflictError, match="'k1' came before with another label"):
        outcomes(parts, label(one, "7", key="k1"))


@pytest.mark.parametrize("giver", ["digits", "Digits:3", "digits v3", "model", "model:resnet", "mlplatform"])
def test_what_a_model_answered_cannot_come_back_as_a_label(parts: Parts, giver: str) -> None:
    [one] = recorded(parts.database, prediction())
    with pytest.raises(InvalidInputError, match="is a model"):
        outcomes(parts, label(one, giver=giver))
    with pytest.raises(InvalidInputError, match="source 'prediction'"):
        outcomes(parts, label(one, source="prediction"))  # type: ignore[arg-type]
    assert current(parts, one) == []
