"""What a decision rests on."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.build import Parts
from mlplatform.evidence import baseline_of, report_path, window_of
from mlplatform.settings import Settings
from mlplatform.store import evaluations, feedback, promotions
from monitors.window import Baseline, Window
from tests.mlplatform.conftest import START, prediction, recorded
from tests.mlplatform.loop_world import promote, rule, tick, with_rules

DIGITS = tuple("0123456789")


@pytest.fixture
def world(parts: Parts) -> Parts:
    promote(with_rules(parts))
    return parts


def champion(parts: Parts) -> promotions.Promotion:
    current = parts.champions.current("digits")
    assert current is not None
    return current


def window(parts: Parts) -> Window:
    with parts.database.read() as connection:
        return window_of(connection, DIGITS, rule(parts, "accuracy-drop"), champion(parts), parts.clock())


def test_the_window_holds_the_champions_answers_of_its_length_only(world: Parts) -> None:
    tick(world, hours=2)
    now = world.clock()
    inside = recorded(world.database, prediction(now - timedelta(hours=1)), prediction(now - timedelta(seconds=1)))
    recorded(world.database, prediction(now - timedelta(hours=1, seconds=1)), prediction(now))
    recorded(world.database, prediction(now - timedelta(minutes=1), version=2))
    found = window(world)
    assert [row.prediction_id for row in found.rows] == inside
    assert (found.start, found.end, found.model, found.version) == (now - timedelta(hours=1), now, "digits", 1)


def test_the_most_trusted_label_is_the_truth_of_a_row(world: Parts) -> None:
    [key, bare] = recorded(world.database, prediction(START), prediction(START))
    labels = [
        feedback.Label(key, "4", "correction", "a", START),
        feedback.Label(key, "5", "audit", "b", START),
        feedback.Label(key, "6", "delayed", "c", START + timedelta(hours=1)),
    ]
    with world.database.write() as connection:
        feedback.add(connection, labels, START)
    tick(world, minutes=1)
    truths = {row.prediction_id: (row.truth, row.truth_source) for row in window(world).rows}
    assert truths == {key: ("5", "audit"), bare: (None, None)}


def test_a_version_without_baselines_has_an_empty_one(world: Parts) -> None:
    with world.database.write() as connection:
        made = promotions.append(
            connection,
            model_name="digits",
            expected=1,
            to_version=2,
            kind="promote",
            now=START,
            actor="me",
            reason="r",
            fence=9,
        )
    with world.database.read() as connection:
        assert baseline_of(connection, made) == Baseline(0, 0)


def test_the_baseline_is_that_of_promotion_on_the_slowest_host(world: Parts) -> None:
    with world.database.write() as connection:
        for host, p95_ms, calls in (("fast", 2.0, 300), ("slow", 10.0, 200), ("middle", 9.0, 400)):
            numbers = {"p95_ms": p95_ms, "calls": calls}
            evaluations.set_baseline(connection, "digits", 1, "latency", host, numbers, START)
    with world.database.read() as connection:
        assert baseline_of(connection, champion(world)) == Baseline(990, 1000, 10.0, 200, "slow")


def report(parts: Parts, identity: str) -> Path:
    return report_path(parts, rule(parts, "accuracy-drop"), identity)


def test_a_report_is_named_after_its_rule_and_evaluation(world: Parts) -> None:
    path = report(world, "an-id")
    assert path == (world.settings.home / "reports" / "accuracy-drop-an-id.html").resolve()
    assert path.parent.is_dir()
    assert not path.exists()


def test_the_oldest_reports_beyond_the_limit_are_removed(world: Parts, settings: Settings) -> None:
    few = Parts(settings.model_copy(update={"reports_kept": 3}), world.clock)
    for age, name in enumerate(("newest", "second", "third", "fourth", "oldest")):
        path = report(world, name)
        path.write_text("x", encoding="utf-8")
        os.utime(path, (1e9 - age, 1e9 - age))
    path = report(few, "next")
    assert sorted(kept.stem.removeprefix("accuracy-drop-") for kept in path.parent.iterdir()) == ["newest", "second"]
