"""The doctor says whether labels come often enough for rules on classes."""

import pytest

from mlplatform.context import AppContext
from mlplatform.operations.doctor.class_label_diagnostics import class_label_finding
from tests.support.diagnostics_world import look
from tests.support.monitoring_world import answer, tick


@pytest.mark.parametrize(
    ("per_day", "classes", "mark", "said"),
    [
        (100, 10, "ok", "100 labels a day give each of 10 classes 900 in 90 days"),
        (154.4, 10, "ok", "154 labels a day give each of 10 classes 1,390 in 90 days"),
        (100, 300, "ok", "300 classes 30 in 90 days"),
        (100, 1_000, "note", "It is useful up to 300 classes at this rate, or from 334 labels a day"),
        (0, 62, "note", "It is useful for no class at this rate, or from 21 labels a day"),
    ],
)
def test_it_is_useful_from_thirty_labels_of_a_class_in_ninety_days_on(
    per_day: float, classes: int, mark: str, said: str
) -> None:
    found, sentence = class_label_finding("class-error", per_day, classes)
    assert found == mark
    assert said in sentence


def test_the_rate_is_that_of_the_labels_that_came(deployment: AppContext) -> None:
    assert look(deployment, "classes")[0][1].startswith("not looked at: no champion has served for a day")
    answer(deployment, 30)
    tick(deployment, hours=48)
    [(mark, sentence)] = look(deployment, "classes")
    assert mark == "ok"
    assert sentence.startswith("rule class-error: 15 labels a day give each of 10 classes 135 in 90 days")
