"""What the store holds about one alert."""

from datetime import timedelta

import pytest

from mlplatform.alerting.notice_builder import firing_alerts, training_run_of
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.operations.alert_details import AlertDetails, load_alert_details
from mlplatform.retraining import retraining_queue
from mlplatform.store.tables.retraining import retrainings as rows
from tests.support.misread_world import evaluated, kept, misread_world, tell
from tests.support.monitoring_world import tick

pytestmark = pytest.mark.both_databases


@pytest.fixture
def misread(context: AppContext) -> AppContext:
    return misread_world(context)


def about(context: AppContext, alert_id: str) -> AlertDetails:
    with context.database.read() as connection:
        return load_alert_details(connection, alert_id)


def test_an_unknown_alert_is_not_found(misread: AppContext) -> None:
    with pytest.raises(NotFoundError, match="alert 'nope' is not known"):
        about(misread, "nope")


def test_cause_and_latest_evaluation_are_told_apart(misread: AppContext) -> None:
    cause = evaluated(misread)
    [subject] = kept(misread, cause, "3")
    latest = evaluated(misread, "suspect")
    kept(misread, latest, "3")
    found = about(misread, subject.alert.id)
    assert found.cause is not None
    assert (found.cause.id, found.latest.id) == (cause.id, latest.id)
    assert found.sentence == subject.sentence


def test_a_notice_of_several_alerts_is_found_for_each_and_for_no_other(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    three, five, eight = kept(misread, evaluation, "358")
    tell(misread, [three, five], "firing", evaluation)
    tell(misread, [eight], "firing", evaluation)
    keys = {
        each.alert.key: {message.idempotency_key.rpartition("-firing")[0] for message in found.notices}
        for each, found in ((each, about(misread, each.alert.id)) for each in (three, five, eight))
    }
    assert keys == {"3": {evaluation.id}, "5": {evaluation.id}, "8": {eight.alert.id}}


def test_a_retraining_that_an_alert_joined_is_among_its_actions(misread: AppContext) -> None:
    [three] = kept(misread, evaluated(misread), "3")
    made: list[str] = []
    with misread.database.write() as connection:
        for alert_id in (None, three.alert.id):
            now = misread.clock() + timedelta(seconds=len(made))
            asked, _ = retraining_queue.request(
                connection, pipeline="digits", reason="r", trigger="alert", requested_by="t", now=now, alert_id=alert_id
            )
            made.append(asked)
    assert made[0] == made[1]
    assert [each.id for each in about(misread, three.alert.id).retrainings] == made[:1]
    [five] = kept(misread, evaluated(misread), "5")
    assert about(misread, five.alert.id).retrainings == []


def test_the_run_of_a_version_is_that_of_the_retraining_which_made_it(misread: AppContext) -> None:
    with misread.database.write() as connection:
        retraining_queue.request(
            connection, pipeline="digits", reason="r", trigger="manual", requested_by="t", now=misread.clock()
        )
        connection.execute(rows.update().values(run_id="run-7", candidate_version=7))
    with misread.database.read() as connection:
        assert training_run_of(connection, "digits", 7) == "run-7"
        assert training_run_of(connection, "digits", 1) is None


def test_only_what_fires_for_the_rule_and_version_counts_as_firing(misread: AppContext) -> None:
    evaluation = evaluated(misread)
    kept(misread, evaluation, "8")
    kept(misread, evaluation, "5", "acknowledged")
    kept(misread, evaluation, "3", "resolved")
    tick(misread, seconds=1)
    with misread.database.read() as connection:
        assert [alert.key for alert, _ in firing_alerts(connection, "digits", 1, "class-error")] == ["5", "8"]
        assert firing_alerts(connection, "digits", 2, "class-error") == []
