"""What is old goes, what has a label stays, counts stay, and a client who asks is forgotten."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from mlplatform.audit import audit_entries
from mlplatform.audit.verification import verify
from mlplatform.clock import new_id
from mlplatform.context import Parts
from mlplatform.errors import FencedError, InvalidInputError
from mlplatform.feedback import label_records, outcomes
from mlplatform.predictions import erased_predictions, prediction_counts, shadow_predictions
from mlplatform.predictions.prediction_records import Recorded, counts, find, image
from mlplatform.predictions.shadow_predictions import ShadowAnswer
from mlplatform.recording.spool.directory import Shelf
from mlplatform.retention.apply_retention import Pace, forget_client, plan, retain
from mlplatform.settings import Settings
from mlplatform.store.tables.core import predictions, tasks
from mlplatform.store.tables.monitoring import audits
from mlplatform.store.tables.monitoring import judged as judged_rows
from mlplatform.store.tables.rollout import shadow_answers, trials
from tests.mlplatform.conftest import START, prediction, recorded

OLD, NEW = START - timedelta(days=40), START - timedelta(days=5)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"retain_answers_days": 30, "retain_personal_days": 10})


def answered(at: datetime, seed: int, client: str = "client") -> Recorded:
    made = prediction(at, seed=seed)
    row = made.prediction.__class__(**{**vars(made.prediction), "client_id": client, "tags": {"scanner": "a"}})
    return Recorded(row, made.png)


def labelled(parts: Parts, *ids: str) -> None:
    with parts.database.write() as connection:
        label_records.add(
            connection, [label_records.Label(key, "4", "audit", "ann", START, f"key {key}") for key in ids], START
        )


def left(parts: Parts) -> list[str]:
    with parts.database.read() as connection:
        return sorted(connection.scalars(select(predictions.c.id)))


def entries(parts: Parts) -> list[dict[str, Any]]:
    with parts.database.read() as connection:
        return [each for each in audit_entries.entries(connection) if each["action"] in ("retention", "erase-client")]


def test_old_answers_without_a_label_go_with_their_pictures_and_counts_stay(parts: Parts) -> None:
    gone, taught, shared, new, same = recorded(
        parts.database,
        answered(OLD, 1),
        answered(OLD, 2),
        answered(OLD, 3),
        answered(NEW, 4),
        answered(NEW, 3),
    )
    labelled(parts, taught)
    done = retain(parts, "watcher")
    assert done == {"answers": 2, "pictures": 1, "blotted": 1}
    assert left(parts) == sorted([taught, new, same])
    assert gone not in left(parts)
    assert shared not in left(parts)
    with parts.database.read() as connection:
        assert counts(connection) == {"predictions": 3, "images": 3, "labels": 1}
        assert image(connection, find(connection, same).image_hash)
        assert prediction_counts.answers(connection, "digits", 1, OLD, START) == 5
    assert retain(parts, "watcher") == {"answers": 0, "pictures": 0, "blotted": 0}
    [entry] = entries(parts)
    assert (entry["actor"], entry["details"]) == ("watcher", done)


def test_who_asked_is_blotted_out_of_old_labelled_answers_and_their_labels_still_count(parts: Parts) -> None:
    old, new = recorded(parts.database, answered(OLD, 1), answered(NEW, 2))
    labelled(parts, old, new)
    assert retain(parts, "watcher")["blotted"] == 1
    with parts.database.read() as connection:
        row, young = find(connection, old), find(connection, new)
        assert (row.client_id, row.request_id, row.tags) == ("", "", None)
        assert (young.client_id, young.tags) == ("client", {"scanner": "a"})
        rows = connection.execute(select(judged_rows.c.prediction_id, judged_rows.c.tags))
        tags = {row.prediction_id: row.tags for row in rows}
        assert tags == {old: None, new: {"scanner": "a", "client": "client"}}
        assert sum(cell.n for cell in outcomes.counted(connection, "digits", 1, OLD, START)) == 2


def test_nothing_goes_by_default(parts: Parts) -> None:
    kept = Parts(Settings(_env_file=None, home=parts.settings.home), parts.clock)
    kept.__dict__.update(database=parts.database)
    recorded(parts.database, answered(datetime(2001, 1, 1, tzinfo=START.tzinfo), 1))
    assert retain(kept, "watcher") == {"answers": 0, "pictures": 0, "blotted": 0}
    assert len(left(parts)) == 1
    assert entries(parts) == []
    assert plan(kept) == {name: {"days": None, "before": None} for name in ("answers", "personal")}
    assert plan(parts)["answers"] == {"days": 30, "before": START - timedelta(days=30)}


def test_an_answer_that_an_open_task_asks_about_stays_until_it_is_closed(parts: Parts) -> None:
    [asked] = recorded(parts.database, answered(OLD, 1))
    task = {"id": "t", "kind": "label-audit", "model_name": "digits", "state": "open", "at": START}
    with parts.database.write() as connection:
        connection.execute(tasks.insert().values(**task, details={"predictions": [{"id": asked}]}))
    assert retain(parts, "watcher")["answers"] == 0
    with parts.database.write() as connection:
        connection.execute(tasks.update().values(state="done", finished_at=START))
    assert retain(parts, "watcher")["answers"] == 1


def test_many_old_answers_go_in_portions_and_a_watcher_that_lost_its_lease_removes_none(parts: Parts) -> None:
    recorded(parts.database, *(answered(OLD, seed % 7) for seed in range(50)))

    def lost(_: object) -> None:
        raise FencedError("the lease was lost")

    with pytest.raises(FencedError):
        retain(parts, "watcher", lost)
    assert len(left(parts)) == 50
    assert retain(parts, "watcher")["answers"] == 50
    assert left(parts) == []


def test_a_client_who_asks_is_forgotten_with_labels_and_pictures_and_it_is_said_what_that_costs(parts: Parts) -> None:
    mine, taught, other = recorded(
        parts.database, answered(NEW, 1, "zoe"), answered(NEW, 2, "zoe"), answered(NEW, 1, "bob")
    )
    labelled(parts, taught, other)
    draw = {"model_name": "digits", "model_version": 1, "at": NEW, "inclusion": 1.0, "heaviest": 1.0}
    with parts.database.write() as connection:
        connection.execute(audits.insert().values(prediction_id=mine, stratum="s", place="p", **draw))
    told = forget_client(parts, "zoe", "dpo")
    assert told == {"answers": 2, "labelled": 1, "labels": 1, "pictures": 1, "shared": 1, "waiting_in_spools": 0}
    assert left(parts) == [other]
    with parts.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(audits)) == 0
        assert [each.label for each in label_records.of_prediction(connection, other)] == ["4"]
        assert prediction_counts.answers(connection, "digits", 1, OLD, START) == 3
    [entry] = entries(parts)
    assert "zoe" not in str(entry)
    assert (entry["actor"], entry["details"]["labelled"]) == ("dpo", 1)
    assert forget_client(parts, "zoe", "dpo")["answers"] == 0


def test_rows_that_still_wait_in_a_spool_are_said(parts: Parts) -> None:
    shelf = Shelf(parts.settings.spool_folder, "a:1:x", 10_000)
    shelf.append([b"row", b"row"])
    assert forget_client(parts, "zoe", "dpo")["waiting_in_spools"] == 2
    shelf.close()


def test_nobody_is_everybody_and_refused(parts: Parts) -> None:
    with pytest.raises(InvalidInputError, match="everybody"):
        forget_client(parts, "", "dpo")


def test_what_was_erased_by_right_is_missed_by_no_verification(parts: Parts) -> None:
    ids = recorded(parts.database, answered(OLD, 1), answered(OLD, 2, "eve"), answered(NEW, 3, "eve"), answered(NEW, 4))
    retain(parts, "watcher")
    forget_client(parts, "eve", "ann")
    assert left(parts) == [ids[3]]
    assert verify(parts.database).faults == []


def test_shadow_answers_go_with_the_answers_they_were_given_beside(parts: Parts) -> None:
    old, new = recorded(parts.database, answered(OLD, 1), answered(NEW, 2, "eve"))
    with parts.database.write() as connection:
        rows = [ShadowAnswer(key, 2, "t", at, "1", [1.0], 1.0, 1.0) for key, at in ((old, OLD), (new, NEW))]
        shadow_predictions.write(connection, rows)
    retain(parts, "watcher")
    with parts.database.read() as connection:
        assert list(connection.scalars(select(shadow_answers.c.prediction_id))) == [new]
    forget_client(parts, "eve", "ann")
    with parts.database.read() as connection:
        assert list(connection.scalars(select(shadow_answers.c.prediction_id))) == []


def of_model(row: Recorded, model: str) -> Recorded:
    return Recorded(replace(row.prediction, model_name=model), row.png)


def test_one_models_watcher_removes_and_blots_out_nothing_of_another_model(parts: Parts) -> None:
    mine, theirs, same = recorded(
        parts.database,
        answered(OLD, 1),
        of_model(answered(OLD, 2), "letters"),
        of_model(answered(OLD, 1), "letters"),
    )
    trial = {"model_name": "letters", "version": 2, "beside": 1, "role": "shadow", "share": 1.0, "state": "running"}
    with parts.database.write() as connection:
        connection.execute(trials.insert().values(id="t", at=START, actor="ann", reason="r", duel={}, **trial))
        shadow_predictions.write(connection, [ShadowAnswer(theirs, 2, "t", OLD, "1", [1.0], 1.0, 1.0)])
    assert retain(parts, "watcher") == {"answers": 1, "pictures": 0, "blotted": 0}
    assert left(parts) == sorted([theirs, same])
    assert mine not in left(parts)
    with parts.database.read() as connection:
        assert {find(connection, key).client_id for key in (theirs, same)} == {"client"}
        assert image(connection, find(connection, same).image_hash)
        assert len(shadow_predictions.of_prediction(connection, theirs)) == 1


def test_everything_old_goes_in_one_round_with_a_rest_after_each_portion(parts: Parts) -> None:
    recorded(parts.database, *(answered(OLD, seed % 7) for seed in range(60)))
    rests: list[float] = []
    ticks = iter(range(1_000))
    assert (
        retain(parts, "watcher", pace=Pace(rest=rests.append, now=lambda: next(ticks) / 10, portion=4))["answers"] == 60
    )
    assert rests == pytest.approx([0.1] * 15)


def test_a_watcher_that_no_longer_leads_or_is_stopped_goes_on_no_further(parts: Parts) -> None:
    recorded(parts.database, *(answered(OLD, seed % 7) for seed in range(60)))
    rests: list[float] = []
    done = retain(parts, "watcher", pace=Pace(lambda: len(rests) < 3, rests.append, portion=4))
    assert done == {"answers": 12, "pictures": 0, "blotted": 0}
    assert len(left(parts)) == 48


def test_labelled_answers_that_stay_do_not_hide_what_is_behind_them(parts: Parts) -> None:
    ids = recorded(parts.database, *(answered(OLD, seed) for seed in range(12)))
    labelled(parts, *sorted(ids)[:6])
    assert retain(parts, "watcher", pace=Pace(rest=lambda _: None, portion=2))["answers"] == 6
    assert left(parts) == sorted(ids)[:6]


def test_what_was_erased_is_remembered_by_a_digest_for_a_while(parts: Parts) -> None:
    [key] = recorded(parts.database, answered(NEW, 1, "zoe"))
    young = new_id(lambda: NEW)
    recorded(parts.database, Recorded(replace(answered(NEW, 2, "zoe").prediction, id=young), answered(NEW, 2).png))
    forget_client(parts, "zoe", "dpo")
    with parts.database.read() as connection:
        assert young in erased_predictions.among(connection, [young, "other"])
        assert erased_predictions.among(connection, ["other"]) == set()
        assert key not in left(parts)
    with parts.database.write() as connection:
        erased_predictions.forget(connection, parts.clock() + erased_predictions.KEPT + timedelta(days=1))
        assert erased_predictions.among(connection, [young]) == set()
