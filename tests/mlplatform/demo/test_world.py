"""The demo's world."""

import numpy as np
import pytest

from mlplatform.demo.data import MOST, RULES, SHARES, deal
from monitors.rules.alerts_config import parse_rules
from pipelines.data import ImageSet
from pipelines.image.simulated_shift import second_scanner
from tests.mlplatform.loop_world import SECRET


def stream(count: int) -> ImageSet:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count, dtype=np.int64) % 10, "stream")


@pytest.mark.parametrize("count", [300, MOST + 400])
def test_no_image_is_in_two_acts(count: int) -> None:
    images = stream(count)
    world = deal(images, 0)
    parts = np.split(
        np.random.default_rng(0).permutation(count)[:MOST], np.cumsum([len(world.known), len(world.changed)])
    )
    assert len({int(index) for part in parts for index in part}) == min(count, MOST)
    assert set(world.known.ids) <= set(images.ids)
    assert len(world.known) + len(world.changed) + len(world.later) <= min(count, MOST)
    labels = np.bincount(np.concatenate([world.known.labels, world.changed.labels, world.later.labels]), minlength=10)
    assert labels.max() <= np.bincount(images.labels).max()


def test_the_acts_have_their_shares() -> None:
    world = deal(stream(1000), 0)
    sizes = [len(part) for part in (world.known, world.changed, world.later)]
    assert sizes == [int(1000 * share) for share in SHARES]


def test_the_same_seed_deals_the_same_world() -> None:
    images = stream(200)
    first, again, other = deal(images, 3), deal(images, 3), deal(images, 4)
    assert first.changed.digest == again.changed.digest
    assert first.known.digest != other.known.digest


def test_the_changed_world_is_the_second_scanners() -> None:
    images = stream(200)
    world = deal(images, 0)
    assert set(world.changed.ids).isdisjoint(images.ids)
    assert set(world.later.ids).isdisjoint(images.ids)
    order = np.random.default_rng(0).permutation(200)
    changed = images.take(order[len(world.known) : len(world.known) + len(world.changed)])
    assert np.array_equal(second_scanner(changed.images, 7), world.changed.images)
    assert np.array_equal(changed.labels, world.changed.labels)


def test_the_demos_rules_are_the_missions_with_every_channel_on() -> None:
    text = RULES.format(http_port=8001, smtp_port=8002, secret=SECRET, min_feedback=100)
    rules = parse_rules(text, "alerts.yaml", {})
    assert {rule.metric: (rule.above, rule.action) for rule in rules.rules} == {
        "accuracy_drop": (0.005, "retrain"),
        "latency_ratio": (2.0, "tune-serving"),
        "class_error": (0.1, "label-audit"),
    }
    assert all(channel.configured for channel in rules.channels.values())
    assert rules.retraining.min_feedback == 100
