"""Every label of every labelled image, as a retraining gets to see them."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from sqlalchemy import insert

from mlplatform.feedback import label_records
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.ids import uuid7
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.retraining.training_labels import (
    BATCH_SIZE,
    InputLabel,
    iter_inputs,
    judging_shares,
    load_input_labels,
    load_training_labels,
)
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import review_samples
from monitors.rules.block_unit import DAY_UNIT, LABEL_UNIT, REQUEST_UNIT
from pipelines.builtin.digits import PIPELINE
from pipelines.data import content_hash, is_holdout
from registry.gate.paired_comparison import mcnemar_exact
from tests.support.platform_world import START, picture, prediction, recorded

pytestmark = pytest.mark.both_databases


def label(
    database: Database, key: str, said: str, source: LabelSource = "audit", who: str = "ada", minute: int = 0
) -> str:
    given = SubmittedLabel(key, said, source, who, START + timedelta(minutes=minute))
    with database.write() as connection:
        return label_records.insert_labels(connection, [given], START)[0].id


def test_every_label_comes_with_its_giver_and_what_the_client_said(database: Database) -> None:
    tagged = prediction(seed=1)
    [key] = recorded(
        database, PredictionWithInput(replace(tagged.prediction, client_id="app", tags={"scanner": "b"}), tagged.input)
    )
    first, second = label(database, key, "1", "correction", "ann", 3), label(database, key, "2", "review")
    with database.read() as connection:
        found = load_input_labels(connection, "digits")
        assert load_input_labels(connection, "letters") == []
    assert [each.feedback_id for each in found] == [first, second]
    one = found[0]
    assert (one.prediction_id, one.image_hash, one.label) == (key, content_hash(picture(1)), "1")
    assert (one.source, one.reviewer, one.client_id, one.tags) == ("correction", "ann", "app", {"scanner": "b"})
    assert (one.at, found[1].source) == (START + timedelta(minutes=3), "review")


def test_labels_come_by_image_and_superseded_ones_do_not(database: Database) -> None:
    keys = recorded(database, *(prediction(seed=seed) for seed in (1, 2, 3, 1)))
    for key in keys:
        label(database, key, "4")
        label(database, key, "5", minute=1)
    with database.read() as connection:
        found = load_input_labels(connection, "digits")
    assert [each.image_hash for each in found] == sorted(content_hash(picture(seed)) for seed in (1, 1, 2, 3))
    assert {each.label for each in found} == {"5"}


def test_pictures_are_read_past_one_chunk(database: Database) -> None:
    one = prediction()
    hashes = [f"{n:064}" for n in range(BATCH_SIZE + 3)]
    recorded(
        database,
        *(PredictionWithInput(replace(one.prediction, id=uuid7(), image_hash=key), one.input) for key in hashes),
    )
    with database.read() as connection:
        found = dict(iter_inputs(connection, hashes))
    assert sorted(found) == hashes
    assert set(found.values()) == {(one.input.form, one.packed_input)}


def test_a_label_judges_by_the_chance_it_was_drawn_with(database: Database) -> None:
    drawn, doubtful, passed_over, arrived, wrong, amended = keys = recorded(
        database, *(prediction(seed=seed) for seed in range(1, 7))
    )
    with database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, {"uniform": 0.02, "strata": {}}, START - timedelta(days=1))
        for key, inclusion in ((drawn, 0.02), (doubtful, 0.4), (amended, 0.1)):
            row = {"prediction_id": key, "model_name": "digits", "model_version": 1, "at": START, "stratum": "1 0"}
            connection.execute(insert(review_samples).values(**row, inclusion=inclusion, heaviest=50.0, place=key))
    for key in (drawn, doubtful, passed_over, amended):
        label(database, key, "1")
    label(database, doubtful, "1", "correction")
    label(database, arrived, "1", "delayed")
    label(database, wrong, "1", "correction")
    label(database, wrong, "2", "review")
    label(database, amended, "3", "review")
    with database.read() as connection:
        found = load_input_labels(connection, "digits")
    shares = judging_shares(found)
    images = {content_hash(picture(seed)): key for seed, key in enumerate(keys, 1)}
    assert {images[image]: round(share, 9) for image, share in shares.items()} == {
        drawn: 1.0,
        doubtful: 0.05,
        amended: 0.2,
        arrived: 1.0,
    }
    labels = load_training_labels(database, PIPELINE.name, PIPELINE.contract)
    assert labels.rows is not None
    trains_only = dict(zip(labels.rows.feedback_ids, labels.rows.trains_only, strict=True))
    judging = {(each.prediction_id, each.source) for each in found if not trains_only[each.feedback_id]}
    assert judging == {
        (drawn, "audit"),
        (doubtful, "audit"),
        (amended, "audit"),
        (amended, "review"),
        (arrived, "delayed"),
    }
    assert len(set(labels.blocks(REQUEST_UNIT).values())) == 6


def test_audit_labels_judge_where_nothing_was_drawn_and_pictures_of_one_request_are_a_block(database: Database) -> None:
    one, other, alone = (prediction(seed=seed) for seed in (1, 2, 3))
    together = [replace(each, prediction=replace(each.prediction, request_id="both")) for each in (one, other)]
    for key in recorded(database, *together, alone):
        label(database, key, "1")
    labels = load_training_labels(database, PIPELINE.name, PIPELINE.contract)
    assert set(labels.judging_shares.values()) == {1.0}
    first, second, third = (labels.blocks(REQUEST_UNIT)[content_hash(picture(seed))] for seed in (1, 2, 3))
    assert first == second == "both"
    assert third != first
    assert len(set(labels.blocks(DAY_UNIT).values())) == 1
    assert len(set(labels.blocks(LABEL_UNIT).values())) == 3


def test_a_delayed_label_of_a_young_answer_judges_nothing_and_trains_where_it_never_will(database: Database) -> None:
    held, trains = (
        [seed for seed in range(1, 20) if is_holdout(content_hash(picture(seed))) is side] for side in (True, False)
    )
    old, young = prediction(seed=held[0]), [prediction(seed=held[1]), prediction(seed=trains[0])]
    moved = replace(old, prediction=replace(old.prediction, at=START - timedelta(days=8)))
    first, second, third = recorded(database, moved, *young)
    label(database, first, "1", "delayed")
    waits, given = label(database, second, "1", "delayed"), label(database, third, "1", "delayed")
    read = partial(load_training_labels, database, PIPELINE.name, PIPELINE.contract)
    labels = read(delayed_judge_until=START - timedelta(days=7))
    assert labels.judging_shares == {content_hash(picture(held[0])): 1.0}
    assert labels.rows is not None
    assert [key for key, only in zip(labels.rows.feedback_ids, labels.rows.trains_only, strict=True) if only] == [given]
    assert [(each.feedback_id, each.reason) for each in labels.unusable] == [(waits, "not mature")]
    assert waits not in labels.origins
    label(database, second, "1", "audit")
    labels = read(delayed_judge_until=START - timedelta(days=7))
    assert labels.judging_shares.keys() == {content_hash(picture(seed)) for seed in held[:2]}
    assert labels.unusable == ()
    assert len(read().judging_shares) == 3


def test_no_label_that_a_candidate_learnt_judges_the_next_one(database: Database) -> None:
    keys = recorded(database, *(prediction(seed=seed) for seed in range(1, 25)))
    for key in keys:
        label(database, key, "1", "delayed")
    learnt, judging = set[str](), set[str]()
    for until in (START - timedelta(days=7), START + timedelta(days=1)):
        rows = load_training_labels(database, PIPELINE.name, PIPELINE.contract, delayed_judge_until=until).rows
        assert rows is not None
        learnt |= set(rows.training_rows().ids)
        judging |= set(rows.holdout_rows().ids)
    assert judging
    assert not learnt & judging


def mistaken_for_better(matures_after: timedelta | None, seed: int) -> bool:
    """Whether of two versions that err in 3 % one seems better: errors are known after a day, the rest after 7."""
    generator, now, records = np.random.default_rng(seed), START + timedelta(days=20), list[InputLabel]()
    wrong, others = (generator.random((2, 1000)) < 0.03).tolist()
    for number in range(1000):
        answered = START + timedelta(minutes=28.8 * number)
        if answered + timedelta(days=1 if wrong[number] else 7) <= now:
            said = InputLabel(
                str(number), str(number), str(number), "1", "delayed", "ada", "", {}, now, answered, None, "", "", 1.0
            )
            records.append(said)
    rows = [
        int(key) for key in judging_shares(records, "event", None if matures_after is None else now - matures_after)
    ]
    against = sum(others[row] and not wrong[row] for row in rows)
    return mcnemar_exact(against, sum(wrong[row] and not others[row] for row in rows)) < 0.05


def test_a_candidate_that_is_no_better_is_not_taken_for_better_where_errors_are_known_first() -> None:
    at_once = sum(mistaken_for_better(None, seed) for seed in range(200))
    mature = sum(mistaken_for_better(timedelta(days=7), seed) for seed in range(200))
    assert at_once > 40
    assert mature <= 14  # 5 % of 200, and what luck adds
