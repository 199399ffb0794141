"""The demo's world."""

import numpy as np
import pytest

from mlplatform.demo.demo_images import ALERT_RULES_TEMPLATE, MAX_IMAGES, SPLIT_SHARES, split_for_acts
from monitors.rules.alerts_config import parse_rules
from pipelines.data import Examples, images_of
from pipelines.image.image_examples import image_examples
from pipelines.image.simulated_shift import simulate_scanner_shift
from tests.support.monitoring_world import SECRET


def stream(count: int) -> Examples:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return image_examples(pixels, np.arange(count, dtype=np.int64) % 10, "stream")


@pytest.mark.parametrize("count", [300, MAX_IMAGES + 400])
def test_no_image_is_in_two_acts(count: int) -> None:
    images = stream(count)
    world = split_for_acts(images, 0)
    parts = np.split(
        np.random.default_rng(0).permutation(count)[:MAX_IMAGES],
        np.cumsum([len(world.before_shift), len(world.after_shift)]),
    )
    assert len({int(index) for part in parts for index in part}) == min(count, MAX_IMAGES)
    assert set(world.before_shift.ids) <= set(images.ids)
    assert len(world.before_shift) + len(world.after_shift) + len(world.after_swap) <= min(count, MAX_IMAGES)
    labels = np.bincount(
        np.concatenate([world.before_shift.labels, world.after_shift.labels, world.after_swap.labels]), minlength=10
    )
    assert labels.max() <= np.bincount(images.labels).max()


def test_the_acts_have_their_shares() -> None:
    world = split_for_acts(stream(1000), 0)
    sizes = [len(part) for part in (world.before_shift, world.after_shift, world.after_swap)]
    assert sizes == [int(1000 * share) for share in SPLIT_SHARES]


def test_the_same_seed_deals_the_same_world() -> None:
    images = stream(200)
    first, again, other = split_for_acts(images, 3), split_for_acts(images, 3), split_for_acts(images, 4)
    assert first.after_shift.digest == again.after_shift.digest
    assert first.before_shift.digest != other.before_shift.digest


def test_the_changed_world_is_the_second_scanners() -> None:
    images = stream(200)
    world = split_for_acts(images, 0)
    assert set(world.after_shift.ids).isdisjoint(images.ids)
    assert set(world.after_swap.ids).isdisjoint(images.ids)
    order = np.random.default_rng(0).permutation(200)
    changed = images.take(order[len(world.before_shift) : len(world.before_shift) + len(world.after_shift)])
    assert np.array_equal(simulate_scanner_shift(images_of(changed.batch), 7), images_of(world.after_shift.batch))
    assert np.array_equal(changed.labels, world.after_shift.labels)


def test_the_demos_rules_are_the_missions_with_every_channel_on() -> None:
    text = ALERT_RULES_TEMPLATE.format(http_port=8001, smtp_port=8002, secret=SECRET, min_feedback=100)
    rules = parse_rules(text, "alerts.yaml", {})
    assert {rule.metric: (rule.above, rule.action) for rule in rules.rules} == {
        "accuracy_drop": (0.005, "retrain"),
        "latency_ratio": (2.0, "tune-serving"),
        "class_error": (0.1, "label-audit"),
    }
    assert all(channel.is_configured for channel in rules.channels.values())
    assert rules.retraining.min_feedback == 100
