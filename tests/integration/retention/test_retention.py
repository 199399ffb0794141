"""What is old goes, what has a label stays, counts stay, and a client who asks is forgotten."""

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import func, select, update

from mlplatform.alerting import outbox
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import FencedError, InvalidInputError
from mlplatform.feedback import label_records, outcome_counts
from mlplatform.ids import uuid7
from mlplatform.predictions import prediction_counts, prediction_records, shadow_predictions
from mlplatform.predictions.column_counts import hour_index, hourly_counts
from mlplatform.predictions.prediction_records import PredictionWithInput, find, load_image
from mlplatform.predictions.shadow_predictions import ShadowPrediction
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.retention.apply_retention import (
    ErasureThrottle,
    PersonErasure,
    RetentionPeriod,
    RetentionResult,
    apply_retention,
    erase_client,
    erase_subject,
    retention_policy,
)
from mlplatform.serialization import to_jsonable
from mlplatform.settings import Settings
from mlplatform.store.tables.alerting import outbox as outbox_rows
from mlplatform.store.tables.coordination import tasks
from mlplatform.store.tables.feedback import outcomes as judged_rows
from mlplatform.store.tables.feedback import review_claims, review_verdicts
from mlplatform.store.tables.predictions import predictions, review_samples, shadow_prediction_rows
from mlplatform.store.tables.promotion import rollouts
from pipelines.data import FORGOTTEN_GROUPS, is_holdout
from tests.support.platform_world import START, prediction, recorded
from tests.support.store_rows import count_rows, verify_audit_log
from tests.support.table_world import answer_rows, promote_table

pytestmark = pytest.mark.both_databases

OLD, NEW = START - timedelta(days=40), START - timedelta(days=5)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"retain_answers_days": 30, "retain_personal_days": 10})


def answered(at: datetime, seed: int, client: str = "client") -> PredictionWithInput:
    made = prediction(at, seed=seed)
    row = made.prediction.__class__(**{**vars(made.prediction), "client_id": client, "tags": {"scanner": "a"}})
    return PredictionWithInput(row, made.input)


def labelled(context: AppContext, *ids: str) -> None:
    with context.database.write() as connection:
        label_records.insert_labels(
            connection,
            [label_records.SubmittedLabel(key, "4", "audit", "ann", START, f"key {key}") for key in ids],
            START,
        )


def left(context: AppContext) -> list[str]:
    with context.database.read() as connection:
        return sorted(connection.scalars(select(predictions.c.id)))


ACTIONS = ("retention", "erase-client", "erase-subject")


def entries(context: AppContext) -> list[dict[str, Any]]:
    with context.database.read() as connection:
        return [each for each in audit_entries.recent_entries(connection) if each["action"] in ACTIONS]


def test_old_answers_without_a_label_go_with_their_pictures_and_counts_stay(context: AppContext) -> None:
    gone, taught, shared, new, same = recorded(
        context.database,
        answered(OLD, 1),
        answered(OLD, 2),
        answered(OLD, 3),
        answered(NEW, 4),
        answered(NEW, 3),
    )
    labelled(context, taught)
    done = apply_retention(context, "watcher")
    assert done == RetentionResult(2, 1, 1)
    assert left(context) == sorted([taught, new, same])
    assert gone not in left(context)
    assert shared not in left(context)
    with context.database.read() as connection:
        assert count_rows(connection) == {"predictions": 3, "images": 3, "labels": 1}
        assert load_image(connection, find(connection, same).image_hash)
        assert prediction_counts.prediction_total(connection, "digits", 1, OLD, START) == 5
    assert apply_retention(context, "watcher") == RetentionResult(0, 0, 0)
    [entry] = entries(context)
    assert (entry["actor"], entry["details"]) == (
        "watcher",
        {"answers": 2, "pictures": 1, "blotted": 1, "column_counts": 0},
    )


def test_who_asked_is_blotted_out_of_old_labelled_answers_and_their_labels_still_count(context: AppContext) -> None:
    old, new = recorded(context.database, answered(OLD, 1), answered(NEW, 2))
    labelled(context, old, new)
    assert apply_retention(context, "watcher").blotted == 1
    with context.database.read() as connection:
        row, young = find(connection, old), find(connection, new)
        assert (row.client_id, row.request_id, row.tags) == ("", "", None)
        assert (young.client_id, young.tags) == ("client", {"scanner": "a"})
        rows = connection.execute(select(judged_rows.c.prediction_id, judged_rows.c.tags))
        tags = {row.prediction_id: row.tags for row in rows}
        assert tags == {old: None, new: {"scanner": "a", "client": "client"}}
        assert sum(cell.n for cell in outcome_counts.window_label_counts(connection, "digits", 1, OLD, START)) == 2


def test_nothing_goes_by_default(context: AppContext) -> None:
    kept = context.replace(settings=Settings(_env_file=None, home=context.settings.home))
    recorded(context.database, answered(datetime(2001, 1, 1, tzinfo=START.tzinfo), 1))
    assert apply_retention(kept, "watcher") == RetentionResult(0, 0, 0)
    assert len(left(context)) == 1
    assert entries(context) == []
    for_ever = {"days": None, "before": None}
    assert to_jsonable(retention_policy(kept)) == {"answers": for_ever, "personal": for_ever, "column_counts": for_ever}
    assert retention_policy(context).answers == RetentionPeriod(30, START - timedelta(days=30))


def test_an_answer_that_an_open_task_asks_about_stays_until_it_is_closed(context: AppContext) -> None:
    [asked] = recorded(context.database, answered(OLD, 1))
    task = {"id": "t", "kind": "label-audit", "model_name": "digits", "state": "open", "at": START}
    with context.database.write() as connection:
        connection.execute(tasks.insert().values(**task, details={"predictions": [{"id": asked}]}))
    assert apply_retention(context, "watcher").answers == 0
    with context.database.write() as connection:
        connection.execute(tasks.update().values(state="done", finished_at=START))
    assert apply_retention(context, "watcher").answers == 1


def test_many_old_answers_go_in_portions_and_a_watcher_that_lost_its_lease_removes_none(context: AppContext) -> None:
    recorded(context.database, *(answered(OLD, seed % 7) for seed in range(50)))

    def lost(_: object) -> None:
        raise FencedError("the lease was lost")

    with pytest.raises(FencedError):
        apply_retention(context, "watcher", lost)
    assert len(left(context)) == 50
    assert apply_retention(context, "watcher").answers == 50
    assert left(context) == []


def test_a_client_who_asks_is_forgotten_with_labels_and_pictures_and_it_is_said_what_that_costs(
    context: AppContext,
) -> None:
    mine, taught, other = recorded(
        context.database, answered(NEW, 1, "zoe"), answered(NEW, 2, "zoe"), answered(NEW, 1, "bob")
    )
    labelled(context, taught, other)
    draw = {"model_name": "digits", "model_version": 1, "at": NEW, "inclusion": 1.0, "heaviest": 1.0}
    with context.database.write() as connection:
        connection.execute(review_samples.insert().values(prediction_id=mine, stratum="s", place="p", **draw))
        said = {"prediction_id": mine, "reviewer": "ada", "queue": "draw"}
        connection.execute(review_claims.insert().values(until=NEW, **said))
        connection.execute(review_verdicts.insert().values(model_name="digits", verdict="unsure", at=NEW, **said))
    erased = erase_client(context, "zoe", "dpo")
    assert erased == PersonErasure(answers=2, labelled=1, labels=1, pictures=1, shared=1, waiting_in_spools=0)
    assert left(context) == [other]
    with context.database.read() as connection:
        for table in (review_samples, review_claims, review_verdicts):
            assert connection.scalar(select(func.count()).select_from(table)) == 0
        assert [each.label for each in label_records.current_labels(connection, other)] == ["4"]
        assert prediction_counts.prediction_total(connection, "digits", 1, OLD, START) == 3
    [entry] = entries(context)
    assert "zoe" not in str(entry)
    assert (entry["actor"], entry["details"]["labelled"]) == ("dpo", 1)
    assert erase_client(context, "zoe", "dpo").answers == 0


def test_what_is_about_a_subject_goes_whoever_sent_it(context: AppContext) -> None:
    def about(seed: int, client: str, subject: str) -> PredictionWithInput:
        made = answered(NEW, seed, client)
        return PredictionWithInput(replace(made.prediction, subject=subject), made.input)

    _, taught, other, nobody = recorded(
        context.database,
        about(1, "shop", "ada"),
        about(2, "mill", "ada"),
        about(3, "shop", "bob"),
        about(4, "shop", ""),
    )
    labelled(context, taught, other)
    with context.database.write() as connection:
        sent = {"type": "email", "message": "plan: ada's", "alerts": []}
        outbox.enqueue(connection, key="old", channel="mail", payload=sent, alert_id=None, now=OLD)
        connection.execute(update(outbox_rows).values(state="delivered"))  # as an earlier version left it
    erased = erase_subject(context, "ada", "dpo")
    with context.database.read() as connection:
        assert [message.payload for message in outbox.recent_messages(connection)] == [{"type": "email", "alerts": []}]
    assert (erased.answers, erased.labels, erased.pictures) == (2, 1, 2)
    assert left(context) == sorted([other, nobody])
    [entry] = [each for each in entries(context) if each["action"] == "erase-subject"]
    assert "ada" not in str(entry)
    guessed = {sha256(text).hexdigest()[:16] for text in (b"ada", b"subject ada", b"subject/ada")}
    assert entry["subject"].removeprefix("subject/") not in guessed, "a list of all names does not tell who it was"
    erase_subject(context, "ada", "dpo")
    again = [each["subject"] for each in entries(context) if each["action"] == "erase-subject"]
    assert again == [entry["subject"]] * 2, "whoever has the database can look up whether ada was erased"
    with pytest.raises(InvalidInputError, match="about nobody"):
        erase_subject(context, "", "dpo")


def test_a_forgotten_subject_stays_on_its_side_of_a_retraining(context: AppContext) -> None:
    names = {side: next(name for name in map(str, range(99)) if is_holdout(name) is side) for side in (True, False)}
    aged = {side: answered(OLD, 5 + side, "") for side in names}
    rows = [
        PredictionWithInput(replace(each.prediction, subject=names[side], request_id="", tags=None), each.input)
        for side, each in aged.items()
    ]
    keys = dict(zip(aged, recorded(context.database, *rows), strict=True))
    labelled(context, *keys.values())
    assert apply_retention(context, "watcher").blotted == 2
    assert apply_retention(context, "watcher").blotted == 0
    with context.database.read() as connection:
        left = {side: find(connection, key).subject for side, key in keys.items()}
    assert left == FORGOTTEN_GROUPS
    assert all(is_holdout(subject) is side for side, subject in left.items())


def test_rows_that_still_wait_in_a_spool_are_said(context: AppContext) -> None:
    spool_directory = SpoolDirectory(context.settings.spool_folder, "a:1:x", 10_000)
    spool_directory.append([b"row", b"row"])
    assert erase_client(context, "zoe", "dpo").waiting_in_spools == 2
    spool_directory.close()


def test_nobody_is_everybody_and_refused(context: AppContext) -> None:
    with pytest.raises(InvalidInputError, match="everybody"):
        erase_client(context, "", "dpo")


def test_what_was_erased_by_right_is_missed_by_no_verification(context: AppContext) -> None:
    ids = recorded(
        context.database, answered(OLD, 1), answered(OLD, 2, "eve"), answered(NEW, 3, "eve"), answered(NEW, 4)
    )
    apply_retention(context, "watcher")
    erase_client(context, "eve", "ann")
    assert left(context) == [ids[3]]
    assert verify_audit_log(context.database).faults == []


def test_shadow_answers_go_with_the_answers_they_were_given_beside(context: AppContext) -> None:
    old, new = recorded(context.database, answered(OLD, 1), answered(NEW, 2, "eve"))
    with context.database.write() as connection:
        rows = [ShadowPrediction(key, 2, "t", at, "1", [1.0], 1.0, 1.0) for key, at in ((old, OLD), (new, NEW))]
        shadow_predictions.insert_shadow_predictions(connection, rows)
    apply_retention(context, "watcher")
    with context.database.read() as connection:
        assert list(connection.scalars(select(shadow_prediction_rows.c.prediction_id))) == [new]
    erase_client(context, "eve", "ann")
    with context.database.read() as connection:
        assert list(connection.scalars(select(shadow_prediction_rows.c.prediction_id))) == []


def of_model(row: PredictionWithInput, model: str) -> PredictionWithInput:
    return PredictionWithInput(replace(row.prediction, model_name=model), row.input)


def test_one_models_watcher_removes_and_blots_out_nothing_of_another_model(context: AppContext) -> None:
    mine, theirs, same = recorded(
        context.database,
        answered(OLD, 1),
        of_model(answered(OLD, 2), "letters"),
        of_model(answered(OLD, 1), "letters"),
    )
    trial = {"model_name": "letters", "version": 2, "beside": 1, "role": "shadow", "share": 1.0, "state": "running"}
    with context.database.write() as connection:
        connection.execute(rollouts.insert().values(id="t", at=START, actor="ann", reason="r", duel={}, **trial))
        shadow_predictions.insert_shadow_predictions(
            connection, [ShadowPrediction(theirs, 2, "t", OLD, "1", [1.0], 1.0, 1.0)]
        )
    assert apply_retention(context, "watcher") == RetentionResult(1, 0, 0)
    assert left(context) == sorted([theirs, same])
    assert mine not in left(context)
    with context.database.read() as connection:
        assert {find(connection, key).client_id for key in (theirs, same)} == {"client"}
        assert load_image(connection, find(connection, same).image_hash)
        assert len(shadow_predictions.list_by_prediction(connection, theirs)) == 1


def test_everything_old_goes_in_one_round_with_a_rest_after_each_portion(context: AppContext) -> None:
    recorded(context.database, *(answered(OLD, seed % 7) for seed in range(60)))
    rests: list[float] = []
    ticks = iter(range(1_000))
    assert (
        apply_retention(
            context,
            "watcher",
            throttle=ErasureThrottle(sleep=rests.append, monotonic=lambda: next(ticks) / 10, batch_size=4),
        ).answers
        == 60
    )
    assert rests == pytest.approx([0.1] * 15)


def test_a_watcher_that_no_longer_leads_or_is_stopped_goes_on_no_further(context: AppContext) -> None:
    recorded(context.database, *(answered(OLD, seed % 7) for seed in range(60)))
    rests: list[float] = []
    done = apply_retention(
        context, "watcher", throttle=ErasureThrottle(lambda: len(rests) < 3, rests.append, batch_size=4)
    )
    assert done == RetentionResult(12, 0, 0)
    assert len(left(context)) == 48


def test_labelled_answers_that_stay_do_not_hide_what_is_behind_them(context: AppContext) -> None:
    ids = recorded(context.database, *(answered(OLD, seed) for seed in range(12)))
    labelled(context, *sorted(ids)[:6])
    assert (
        apply_retention(context, "watcher", throttle=ErasureThrottle(sleep=lambda _: None, batch_size=2)).answers == 6
    )
    assert left(context) == sorted(ids)[:6]


def test_what_was_erased_is_remembered_by_a_digest_for_a_while(context: AppContext) -> None:
    [key] = recorded(context.database, answered(NEW, 1, "zoe"))
    young = uuid7(lambda: NEW)
    recorded(
        context.database,
        PredictionWithInput(replace(answered(NEW, 2, "zoe").prediction, id=young), answered(NEW, 2).input),
    )
    erase_client(context, "zoe", "dpo")
    with context.database.read() as connection:
        assert young in prediction_records.find_erased(connection, [young, "other"])
        assert prediction_records.find_erased(connection, ["other"]) == set()
        assert key not in left(context)
    with context.database.write() as connection:
        prediction_records.delete_expired(
            connection, context.clock() + prediction_records.ERASED_IDS_RETENTION + timedelta(days=1)
        )
        assert prediction_records.find_erased(connection, [young]) == set()


def test_rows_of_a_table_are_kept_and_forgotten_like_pictures(context: AppContext) -> None:
    """Old rows go with their values and leave their counts; old counts go but for those that rules compare with."""
    context = context.replace(settings=context.settings.model_copy(update={"retain_column_counts_days": 20}))
    promote_table(context, 1)
    gone, kept, young = (
        answer_rows(context, [(age, "gold")], at)[0] for age, at in ((20.0, OLD), (30.0, OLD), (40.0, NEW))
    )
    labelled(context, kept)
    answer_rows(context, [(50.0, "free")], OLD, version=2)  # whose columns nobody knows yet: it is not counted
    done = apply_retention(context, "watcher")
    assert (done.answers, done.pictures, done.column_counts) == (2, 2, 0), "the champion's first days are compared with"
    assert left(context) == sorted([kept, young])
    assert gone not in left(context)
    with context.database.read() as connection:
        assert count_rows(connection)["images"] == 2
        assert sum(counts.sum() for counts in hourly_counts(connection, "digits", 1, [(0, 2**31 - 1)]).values()) == 6

    promote_table(context, 2)
    assert apply_retention(context, "watcher").column_counts == 1
    with context.database.read() as connection:
        hours = hourly_counts(connection, "digits", 1, [(0, 2**31 - 1)])
    assert list(hours) == [hour_index(NEW)]
