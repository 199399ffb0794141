"""The newest answers of a version, labelled and not."""

import pytest

from mlplatform.feedback import label_records
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.monitoring import label_issue_candidates
from mlplatform.store.database import Database
from tests.support.platform_world import START, prediction, recorded
from tests.support.version_folder import DIGITS

pytestmark = pytest.mark.both_databases


def label(database: Database, key: str, said: str, source: LabelSource = "audit", who: str = "ada") -> str:
    with database.write() as connection:
        return label_records.insert_labels(
            connection, [label_records.SubmittedLabel(key, said, source, who, START)], START
        )[0].id


def test_unlabelled_answers_are_those_of_the_version_that_nobody_labelled(database: Database) -> None:
    free, labelled, _ = recorded(database, prediction(seed=1), prediction(seed=2), prediction(seed=3, version=2))
    label(database, labelled, "3")
    with database.read() as connection:
        [found] = label_issue_candidates.unlabelled_predictions(connection, DIGITS.task, DIGITS.classes, "digits", 1)
    assert (found.prediction_id, found.label, found.given_label, len(found.probabilities)) == (free, "3", None, 10)


def test_labelled_answers_carry_the_label_that_counts_and_whether_a_person_reviewed_it(database: Database) -> None:
    first, second, _ = recorded(database, prediction(seed=1), prediction(seed=2), prediction(seed=3))
    label(database, first, "5", "correction")
    counts = label(database, first, "4", "delayed")
    label(database, second, "7")
    review = label(database, second, "8", "review")
    with database.read() as connection:
        found = {
            each.prediction_id: each
            for each in label_issue_candidates.labelled_predictions(
                connection, DIGITS.task, DIGITS.classes, "digits", 1
            )
        }
    assert set(found) == {first, second}
    assert (found[first].given_label, found[first].feedback_id, found[first].reviewed) == ("4", counts, False)
    assert (found[second].given_label, found[second].feedback_id, found[second].reviewed) == ("8", review, True)
    assert found[first].input_hash != found[second].input_hash
