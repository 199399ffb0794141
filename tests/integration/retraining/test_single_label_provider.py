"""A changed world is learnt where one client asks and one feed tells the truth, and a liar beside it is still held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mlplatform.context import AppContext
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.retraining.training_labels import label_quotas, load_training_labels, retraining_policy
from monitors.rules.alerts_config import Retraining
from pipelines.builtin.digits import PIPELINE
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec
from pipelines.data import Examples, Split, images_of
from pipelines.engines.torch_engine import TorchEngine
from pipelines.image.image_examples import image_examples
from pipelines.image.simulated_shift import simulate_scanner_shift
from pipelines.recipe import network_recipe
from tests.support.fake_registry import FakeTracking, MemoryCatalog, make_plain_candidate
from tests.support.feedback_world import Reader, answered, chosen, trained, wrong
from tests.support.monitoring_world import RULES, with_rules
from tests.support.platform_world import START

LABELS = 500
"""So many sufficed where twelve clients had asked."""


def policy_of(context: AppContext) -> Retraining:
    """What alerts.yaml says about retraining the digits."""
    return retraining_policy(context.settings.alerts_file, lambda: context.rules, PIPELINE.name)


@pytest.fixture(scope="module")
def split() -> Split:
    return PIPELINE.load(None)


@pytest.fixture(scope="module")
def champion(split: Split) -> Champion:
    return Champion(1, Reader(split.train), 10**6)


def scanned(images: Examples, seed: int = 7) -> Examples:
    """The pictures as the scanner sees them that has taken the place of the old one."""
    return image_examples(simulate_scanner_shift(images_of(images.batch), seed), images.labels, "second scanner")


def given(
    context: AppContext,
    images: Examples,
    clients: Sequence[str],
    reviewer: str = "",
    feed: str = "",
    truth: bool = True,
) -> set[str]:
    """Delayed labels of these pictures, right or all wrong; returns their ids."""
    ids = answered(context, images_of(images.batch), clients)
    said = images.labels.tolist() if truth else wrong(images.labels)
    labels = [
        SubmittedLabel(key, str(name), "delayed", reviewer, START, "", feed)
        for key, name in zip(ids, said, strict=True)
    ]
    return {taken.id for taken in record_labels(context, labels)}


@pytest.mark.parametrize(
    ("clients", "reviewer"),
    [(["backend"], ""), ([""], ""), (["backend"], "ledger"), ([f"client {n}" for n in range(40)], "ledger")],
    ids=["one client", "nobody named", "one client and one reviewer", "one reviewer"],
)
def test_all_that_one_feed_says_of_a_changed_world_is_learnt(
    context: AppContext, split: Split, champion: Champion, clients: list[str], reviewer: str
) -> None:
    world = scanned(split.stream.take(range(LABELS)))
    assert (champion.predictor(world.batch).argmax(axis=1) == world.labels).mean() < 0.5
    sent = given(context, world, clients, reviewer)
    rows, _ = chosen(context, split, champion)
    assert rows.holdout is not None
    assert len(trained(rows) & sent) >= 0.6 * LABELS
    assert len(rows.holdout) >= 0.3 * LABELS
    assert {each.reason for each in rows.excluded} <= {"near-duplicate of a held image", "suspicious"}


@pytest.mark.slow
def test_one_clients_labels_recover_a_changed_world_as_twelve_clients_did(
    context: AppContext, split: Split, champion: Champion
) -> None:
    if not context.database.is_sqlite:
        pytest.skip("the training is the same whichever database its labels came from")
    given(context, scanned(split.stream.take(range(LABELS))), ["backend"])
    material = load_training_labels(context.database, PIPELINE.name, PIPELINE.contract)
    order = TrainingSpec(
        PIPELINE,
        replace(network_recipe(PIPELINE.recipe("compact")), epochs=8, patience=8),
        split,
        material.rows,
        champion,
        seed=0,
        reason="the world has changed",
        origins=material.origins,
        quotas=label_quotas(Retraining()),
    )
    tracking = FakeTracking()
    candidate = make_plain_candidate(order, tracking, MemoryCatalog(tracking))
    assert candidate.verdict.outcome == "promote"
    [module] = tracking.runs[0].models.values()
    later = scanned(split.stream.take(range(LABELS, len(split.stream))), seed=9)
    right = TorchEngine(module, PIPELINE.classes, 28, 28)(later.batch).argmax(axis=1) == later.labels
    assert right.mean() > 0.7
    assert (champion.predictor(later.batch).argmax(axis=1) == later.labels).mean() < 0.5


def of_clients(context: AppContext, split: Split, champion: Champion, clients: list[str]) -> Rows:
    material = load_training_labels(context.database, PIPELINE.name, PIPELINE.contract)
    assert material.rows is not None
    origins = {
        key: replace(origin, client=clients[place % len(clients)])
        for place, (key, origin) in enumerate(material.origins.items())
    }
    return select_rows(
        TrainingSpec(
            PIPELINE, network_recipe(PIPELINE.recipe(None)), split, material.rows, champion, 0, "r", origins=origins
        )
    )


def test_one_client_teaches_what_twelve_would(context: AppContext, split: Split, champion: Champion) -> None:
    given(context, scanned(split.stream.take(range(LABELS))), ["backend"])
    one = of_clients(context, split, champion, ["backend"])
    twelve = of_clients(context, split, champion, [f"client {n}" for n in range(12)])
    assert len(trained(one) & trained(twelve)) >= 0.97 * len(trained(twelve))


def test_traffic_that_repeats_itself_is_learnt_and_judged(
    context: AppContext, split: Split, champion: Champion
) -> None:
    """Forms of one layout: sixty pictures, each scanned again and again."""
    papers = split.stream.take(range(60))
    generator = np.random.default_rng(0)
    again = np.repeat(images_of(scanned(papers).batch), 8, axis=0)
    seen = np.clip(again + generator.normal(0, 2, again.shape), 0, 255).astype(np.uint8)
    sent = given(context, image_examples(seen, np.repeat(papers.labels, 8), "again"), ["backend"])
    rows, _ = chosen(context, split, champion)
    assert rows.holdout is not None
    assert len(trained(rows) & sent) >= 0.3 * len(sent)
    assert len(rows.holdout) >= 0.05 * len(sent)


@pytest.mark.parametrize("changed", [False, True], ids=["as it was", "changed"])
def test_a_flood_of_lies_beside_a_trusted_feed_gets_its_share_at_most(
    context: AppContext, split: Split, champion: Champion, changed: bool
) -> None:
    with_rules(context, RULES.replace("min_feedback: 10}", "min_feedback: 10, quotas: {trusted: [ledger key]}}"))
    assert policy_of(context).quotas.trusted == ("ledger key",)
    world = scanned(split.stream) if changed else split.stream
    truth = given(context, world.take(range(250)), ["backend"], "ann", "ledger key")
    lies = given(context, world.take(range(250, 671)), [""], truth=False)
    rows, _ = chosen(context, split, champion)
    assert len(trained(rows) & truth) >= 0.55 * len(truth)
    assert len(trained(rows) & lies) <= 0.25 * len(trained(rows) & truth) + 1
    assert rows.holdout is not None
    assert len(set(rows.holdout.feedback_ids) & lies) <= 50


def test_a_name_alone_is_no_trusted_feed_where_it_came_under_another_key(
    context: AppContext, split: Split, champion: Champion
) -> None:
    """A reviewer's name is free to choose, the name of an API key is not."""
    with_rules(context, RULES.replace("min_feedback: 10}", "min_feedback: 10, quotas: {trusted: [ledger]}}"))
    given(context, split.stream.take(range(200)), [f"client {n}" for n in range(12)])
    lies = given(context, split.stream.take(range(200, 600)), ["flood"], "ledger", "some key", truth=False)
    rows, _ = chosen(context, split, champion)
    assert len(trained(rows) & lies) <= 50
    assert not any(
        origin.from_trusted_feed
        for origin in load_training_labels(
            context.database, PIPELINE.name, PIPELINE.contract, None, ("ledger",)
        ).origins.values()
    )


@pytest.mark.both_databases
def test_without_keys_the_reviewers_name_is_the_feed(context: AppContext, split: Split, champion: Champion) -> None:
    with_rules(context, RULES.replace("min_feedback: 10}", "min_feedback: 10, quotas: {trusted: [ledger]}}"))
    given(context, split.stream.take(range(100)), [f"client {n}" for n in range(12)])
    sent = given(context, split.stream.take(range(200, 600)), ["backend"], "ledger")
    rows, _ = chosen(context, split, champion)
    assert len(trained(rows) & sent) >= 0.6 * len(sent)
