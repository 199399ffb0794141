"""From labels in the store to rows that train: poison, conflicts, lineage, leakage, people's verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy import ndimage

from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.feedback.absent_labels import write_absent_labels
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.review_tasks import ReviewLabel, submit_labels, task_items
from mlplatform.promotion import promotion_history
from mlplatform.retraining.training_inputs import delayed_judge_until, matured_until
from mlplatform.retraining.training_labels import (
    load_training_labels,
    open_label_review,
)
from mlplatform.store import tasks
from mlplatform.store.tables.predictions import predictions
from monitors.rules.alerts_config import Quotas, Retraining
from pipelines.builtin.digits import PIPELINE
from pipelines.candidate.row_selection import Rows
from pipelines.candidate.training_spec import Champion
from pipelines.data import Split, content_hash, images_of, is_holdout
from pipelines.labels.label_curation import REVIEWABLE_REASONS, label_lineage
from tests.support.feedback_world import Images, Reader, answered, chosen, policy_of, trained, wrong
from tests.support.monitoring_world import RULES, open_tasks, promote, with_rules
from tests.support.platform_world import START, prediction, recorded


@pytest.fixture(scope="module")
def split() -> Split:
    return PIPELINE.load(None)


@pytest.fixture(scope="module")
def champion(split: Split) -> Champion:
    return Champion(1, Reader(split.train), 10**6)


def labelled(
    context: AppContext,
    ids: Sequence[str],
    labels: Sequence[int | str],
    source: LabelSource,
    reviewer: str = "",
    minute: int = 0,
) -> list[str]:
    """Labels for these answers; returns their feedback ids."""
    at = START.replace(minute=minute)
    given = [
        label_records.SubmittedLabel(key, str(said), source, reviewer, at)
        for key, said in zip(ids, labels, strict=True)
    ]
    with context.database.write() as connection:
        return [each.id for each in label_records.insert_labels(connection, given, at)]


def honest(context: AppContext, split: Split, count: int = 200) -> list[str]:
    """Right labels that twelve clients sent later."""
    rows = split.stream.take(range(count))
    ids = answered(context, images_of(rows.batch), [f"client {n}" for n in range(12)])
    return labelled(context, ids, rows.labels.tolist(), "delayed")


def accounted(rows: Rows) -> Counter[str]:
    """How often the lineage names each label."""
    told = label_lineage(rows.feedback, rows.feedback_weights, rows.holdout, rows.excluded)
    names = [each["feedback_id"] for side in ("trained", "set_aside") for each in told[side]]  # type: ignore[attr-defined]
    return Counter([*names, *told["judged"]])  # type: ignore[misc]


# --- poison


def test_one_client_who_sends_300_wrong_labels_gets_few_of_them_into_the_training(
    context: AppContext, split: Split, champion: Champion
) -> None:
    good = honest(context, split)
    lies = split.stream.take(range(300, 600))
    sent = set(
        labelled(
            context, answered(context, images_of(lies.batch), ["flood"]), wrong(lies.labels), "delayed", "many names"
        )
    )
    rows, _ = chosen(context, split, champion)
    assert len(trained(rows) & sent) <= 50  # the quota's floor; a fifth of the rest is less
    assert len(trained(rows) & sent) <= 0.05 * len(sent)  # of what the quota let through, nearly all is suspicious
    assert len(trained(rows) & set(good)) >= 0.55 * len(good)  # a third of the honest ones judges
    assert rows.holdout is not None
    assert len(set(rows.holdout.feedback_ids) & sent) <= 0.1 * len(sent)


def test_complaints_alone_do_not_make_a_training(context: AppContext, split: Split, champion: Champion) -> None:
    rows = split.stream.take(range(300))
    ids = answered(context, images_of(rows.batch), [f"client {n}" for n in range(30)])
    sent = labelled(context, ids, rows.labels.tolist(), "correction")
    learnt, _ = chosen(context, split, champion)
    assert 30 <= len(trained(learnt)) <= 50
    assert learnt.holdout is not None
    assert len(learnt.holdout) == 0
    assert {each.reason for each in learnt.excluded} >= {"over quota"}
    assert sum(accounted(learnt).values()) == len(sent)


def test_threes_called_eights_do_not_get_through(context: AppContext, split: Split, champion: Champion) -> None:
    honest(context, split)
    places = np.flatnonzero(split.stream.labels == 3)
    threes = split.stream.take(places[places >= 200])
    sent = set(labelled(context, answered(context, images_of(threes.batch), ["liar"]), [8] * len(threes), "correction"))
    assert len(sent) > 30
    rows, _ = chosen(context, split, champion)
    assert len(trained(rows) & sent) <= 0.15 * len(sent)


def test_the_quotas_are_those_of_alerts_yaml(context: AppContext, split: Split, champion: Champion) -> None:
    with_rules(context, RULES.replace("min_feedback: 10}", "min_feedback: 10, quotas: {rows: 10, giver: 0.05}}"))
    assert policy_of(context).quotas == Quotas(rows=10, giver=0.05)
    honest(context, split)
    flood = split.stream.take(range(300, 500))
    sent = set(
        labelled(context, answered(context, images_of(flood.batch), ["flood"]), flood.labels.tolist(), "delayed")
    )
    rows, _ = chosen(context, split, champion)
    assert 0 < len(trained(rows) & sent) <= 10


def test_without_rules_for_the_model_the_defaults_protect_it(context: AppContext) -> None:
    assert policy_of(context) == Retraining()
    with_rules(context, RULES.replace("model: digits", "model: letters").replace("cooldown: 1h", "cooldown: 9h"))
    assert policy_of(context) == Retraining()


# --- conflicts, lineage, people


def disputed(context: AppContext, split: Split) -> tuple[str, list[str]]:
    """An answer that trains, with two trusted labels that contradict each other; returns it and the labels."""
    image = next(each for each in images_of(split.stream.batch)[400:] if not is_holdout(content_hash(each)))
    [key] = answered(context, image[None], ["client 1"])
    labels = labelled(context, [key], ["5"], "audit", "ada") + labelled(context, [key], ["6"], "delayed", "system")
    return key, labels


@pytest.mark.both_databases
def test_every_label_is_accounted_for_exactly_once(context: AppContext, split: Split, champion: Champion) -> None:
    known = honest(context, split)
    key, conflict = disputed(context, split)
    strange = labelled(context, answered(context, images_of(split.stream.batch)[500:501], ["x"]), ["letter"], "audit")
    again = labelled(
        context,
        answered(context, images_of(split.stream.batch)[:20], ["y"]),
        split.stream.labels[:20].tolist(),
        "correction",
    )
    copies = labelled(
        context,
        answered(context, images_of(split.golden.batch)[:30], ["z"]),
        split.golden.labels[:30].tolist(),
        "delayed",
    )
    labelled(context, [key], ["7"], "delayed", "system", minute=1)  # supersedes the 6, which counts no more
    with context.database.read() as connection:
        newest = [each.id for each in label_records.current_labels(connection, key)]
    rows, material = chosen(context, split, champion)
    everything = {*known, *newest, *strange, *again, *copies}
    assert conflict[1] not in everything
    assert accounted(rows) == Counter(everything)
    assert set(material.records_by_id) == everything
    reasons = {each.feedback_id: each.reason for each in rows.excluded}
    assert {reasons[each] for each in newest} == {"conflict"}
    assert reasons[strange[0]] == "unusable"


def asked(context: AppContext, split: Split, champion: Champion, key: str) -> Rows:
    """Choose rows, and ask people about what was set aside, as a retraining does."""
    rows, material = chosen(context, split, champion)
    with context.database.write() as connection:
        open_label_review(connection, "digits", f"label-review/{key}", material, rows.excluded, context.clock())
    return rows


def test_a_persons_verdict_on_what_was_set_aside_is_used_by_the_next_retraining(
    context: AppContext, split: Split, champion: Champion
) -> None:
    key, conflict = disputed(context, split)
    assert trained(asked(context, split, champion, "one")).isdisjoint(conflict)
    [task] = open_tasks(context)
    assert (task.kind, task.key, task.details["in_doubt"]) == ("label-review", "label-review/one", 1)
    [item] = task.details["predictions"]
    assert (item["id"], sorted(item["feedback"])) == (key, sorted(conflict))
    assert item["why"].startswith("conflict: class")
    assert [each.prediction_id for each in task_items(context, task.id)] == [key]
    assert submit_labels(context, [ReviewLabel(key, "6", task.id)], "bob") == {"audit": 0, "review": 1, "repeated": 0}
    with context.database.write() as connection:
        assert tasks.close_finished_labelling(connection, "digits", context.clock()) == 1
    rows = asked(context, split, champion, "two")
    assert rows.feedback is not None
    assert rows.feedback.labels.tolist() == [6]
    assert rows.feedback_weights.tolist() == [1.0]
    assert {each.reason for each in rows.excluded} == {"overruled", "repeated"}
    assert open_tasks(context) == []


def test_a_suspicious_label_that_a_person_confirms_is_learnt(
    context: AppContext, split: Split, champion: Champion
) -> None:
    """The world has changed and the champion is wrong: the doubt is not raised again."""
    honest(context, split)
    lies = split.stream.take([n for n in range(300, 420) if not is_holdout(split.stream.ids[n])])
    sent = labelled(context, answered(context, images_of(lies.batch), ["new world"]), wrong(lies.labels), "delayed")
    asked(context, split, champion, "one")
    [task] = open_tasks(context)
    doubts = [item["doubt"] for item in task.details["predictions"]]
    assert doubts == sorted(doubts, reverse=True)
    item = next(each for each in task.details["predictions"] if set(each["feedback"]) & set(sent))
    with context.database.read() as connection:
        [said] = [each.label for each in label_records.current_labels(connection, item["id"])]
    submit_labels(context, [ReviewLabel(item["id"], said, task.id)], "bob")
    rows, material = chosen(context, split, champion)
    assert rows.feedback is not None
    reviews = {key for key, each in material.records_by_id.items() if each.source == "review"}
    assert reviews <= set(rows.feedback.feedback_ids)
    assert len(reviews) == 1


def test_a_review_of_a_fairly_found_image_stays_on_the_side_of_the_gate(
    context: AppContext, split: Split, champion: Champion
) -> None:
    kept = [n for n in range(len(split.stream)) if is_holdout(split.stream.ids[n])][:2]
    fair, picked = answered(context, images_of(split.stream.batch)[kept], ["a"])
    labelled(context, [fair], ["9"], "audit", "ada")
    said = labelled(context, [fair, picked], split.stream.labels[kept].tolist(), "review", "bob")
    rows, _ = chosen(context, split, champion)
    assert rows.holdout is not None
    assert rows.holdout.feedback_ids == (said[0],)
    assert trained(rows) == {said[1]}


def test_a_flood_of_one_picture_asks_people_once(context: AppContext, split: Split, champion: Champion) -> None:
    picture = np.repeat(images_of(split.stream.batch)[:1], 60, axis=0)
    labelled(context, answered(context, picture, ["flood"]), [n % 10 for n in range(60)], "correction")
    asked(context, split, champion, "one")
    [task] = open_tasks(context)
    [item] = task.details["predictions"]
    assert len(item["feedback"]) == 20
    assert len(item["why"]) < 300


def test_contradictions_do_not_hide_suspicions(context: AppContext, split: Split, champion: Champion) -> None:
    honest(context, split)
    lies = split.stream.take(range(300, 360))
    labelled(context, answered(context, images_of(lies.batch), ["liar"]), wrong(lies.labels), "delayed")
    for said in ("1", "2"):
        labelled(
            context, answered(context, images_of(split.stream.batch)[400:430], ["quarrel"]), [said] * 30, "correction"
        )
    asked(context, split, champion, "one")
    [task] = open_tasks(context)
    first = [item["why"].partition(":")[0] for item in task.details["predictions"][:6]]
    assert Counter(first) == {"conflict": 3, "suspicious": 3}
    assert set(first) == set(REVIEWABLE_REASONS)


@pytest.mark.both_databases
def test_images_are_grouped_by_the_tag_that_alerts_yaml_names(
    context: AppContext, split: Split, champion: Champion
) -> None:
    with_rules(context, RULES.replace("min_feedback: 10}", "min_feedback: 10, group_by: scanner}"))
    one = answered(context, images_of(split.stream.batch)[:5], ["a"], {"scanner": "b", "paper": "blue"})
    two = answered(context, images_of(split.stream.batch)[5:8], ["a"])
    labelled(context, [*one, *two], split.stream.labels[:8].tolist(), "audit")
    _, material = chosen(context, split, champion)
    assert Counter(material.groups.values()) == {"b": 5, "": 3}
    assert material.groups[split.stream.ids[0]] == "b"


# --- leakage


def moved(images: Images) -> Images:
    rolled: Images = np.roll(images, (1, -1), axis=(1, 2))
    return rolled


def brightened(images: Images) -> Images:
    light: Images = np.clip(images * 1.15 + 8, 0, 255).astype(np.uint8)
    return light


def noised(images: Images) -> Images:
    noise = np.random.default_rng(0).normal(0, 4, images.shape)
    grainy: Images = np.clip(images + noise, 0, 255).astype(np.uint8)
    return grainy


def turned(images: Images) -> Images:
    return np.stack([ndimage.rotate(image, 2, reshape=False, order=1) for image in images])


@pytest.mark.parametrize("again", [np.array, moved, brightened, noised, turned])
def test_no_golden_or_gate_image_trains_nor_what_looks_like_one(
    context: AppContext, split: Split, champion: Champion, again: Callable[[Images], Images]
) -> None:
    """They come back as labelled feedback, as they are or seen again, from anybody, with the right label."""
    gate = split.stream.take([n for n in range(len(split.stream)) if is_holdout(split.stream.ids[n])][:60])
    judged = labelled(
        context, answered(context, images_of(gate.batch), ["auditor"]), gate.labels.tolist(), "audit", "ada"
    )
    golden, twice = split.golden.take(range(120)), again(images_of(gate.batch))
    people = [f"client {n}" for n in range(9)]
    sent = labelled(
        context, answered(context, again(images_of(golden.batch)), people), golden.labels.tolist(), "correction", "a"
    )
    sent += labelled(context, answered(context, twice, people), gate.labels.tolist(), "correction", "b")
    others = split.stream.take([n for n in range(len(split.stream)) if not is_holdout(split.stream.ids[n])][:60])
    fresh = labelled(
        context, answered(context, images_of(others.batch), people), others.labels.tolist(), "delayed", "c"
    )
    rows, _ = chosen(context, split, champion, Retraining(quotas=Quotas(giver=1, corrections=1, classes=99)))
    assert trained(rows).isdisjoint([*sent, *judged])
    assert len(trained(rows)) >= 0.9 * len(fresh)
    assert {content_hash(image) for image in images_of(rows.epoch_rows.batch)}.isdisjoint(
        {*split.golden.ids, *gate.ids}
    )
    assert rows.holdout is not None
    assert set(rows.holdout.feedback_ids) <= {*judged, *sent}


def test_labels_of_answers_whose_silence_is_not_counted_yet_teach_nothing(context: AppContext, split: Split) -> None:
    saying = with_rules(context, RULES.replace("version: 1\n", 'version: 1\nabsent: {label: "3", after: 60d}\n', 1))
    images = images_of(split.stream.batch)[:2]
    old, young = answered(saying, images, ["ada"])
    with saying.database.write() as connection:
        moved = predictions.update().where(predictions.c.id == old).values(at=START - timedelta(days=61))
        connection.execute(moved)
    labelled(saying, [old, young], [4, 5], "delayed")
    saying_so = saying.database, saying.settings.alerts_file, lambda: saying.rules
    assert matured_until(*saying_so, PIPELINE.name, START) == EPOCH, "no silence is written yet"
    assert write_absent_labels(saying, saying.rules.absent) == 0
    until = matured_until(*saying_so, PIPELINE.name, START)
    assert until == START - timedelta(days=60, hours=1)
    found = load_training_labels(saying.database, PIPELINE.name, PIPELINE.contract, until=until)
    assert [record.prediction_id for record in found.records_by_id.values()] == [old]
    assert matured_until(*saying_so, "another", START) is None


def test_delayed_labels_judge_a_candidate_once_their_answers_are_mature(context: AppContext) -> None:
    """As the accuracy rule says; without a word of it never, while nobody knows how late labels come."""
    promote(context)
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, "digits")
    assert champion is not None
    for mature, until in (("", EPOCH), ("mature: 2d, ", START - timedelta(days=2))):
        text = RULES.replace("metric: accuracy_drop, ", f"metric: accuracy_drop, {mature}false_alarms: 1 per 90d, ")
        saying = with_rules(context, text)
        said = saying.database, saying.settings.alerts_file, lambda saying=saying: saying.rules
        assert delayed_judge_until(*said, champion, START) == until
        assert delayed_judge_until(*said, None, START) is None
        assert delayed_judge_until(*said, replace(champion, model_name="another"), START) is None


def test_for_a_new_champion_labels_are_mature_when_those_of_the_one_before_were(context: AppContext) -> None:
    answered_at, told_at = START - timedelta(days=90), START - timedelta(days=80)
    for version in (1, 2):
        promote(context, version)
    keys = recorded(context.database, *(prediction(answered_at, seed=seed, label="1") for seed in range(30)))
    given = [label_records.SubmittedLabel(key, "1", "delayed", "ada", told_at) for key in keys]
    with context.database.write() as connection:
        label_records.insert_labels(connection, given, told_at)
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, "digits")
    assert champion is not None
    assert champion.to_version == 2
    rules = with_rules(context).rules
    until = delayed_judge_until(context.database, context.settings.alerts_file, lambda: rules, champion, START)
    assert until is not None
    assert timedelta(days=10) <= START - until <= timedelta(days=11)
