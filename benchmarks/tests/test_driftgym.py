"""The gym's parts: rivals that are counted fairly, worlds that are dealt once, streams that can be repeated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.driftgym import Gym
from benchmarks.gym.play import play, standing
from benchmarks.gym.rivals import Rival, Window, alarms, calibrated, healthy_streams, our_alarms
from benchmarks.gym.scenarios import CHANGE, PER_HOUR, in_short, scenarios
from benchmarks.gym.stage import Stage, first_champion
from benchmarks.gym.worlds import CHANGES, Atlas, Place, load_atlas
from pipelines.data import images_of


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas(None)


def test_the_naive_window_alarms_only_when_it_is_full_and_over_its_limit() -> None:
    assert alarms(lambda: Window(4, 0.25), [1, 0, 0, 0, 1, 1, 0, 0, 0]) == [5]
    assert alarms(lambda: Window(4, 0.25), [1, 1, 1]) == []


def test_our_detector_begins_anew_after_each_alarm() -> None:
    broken = [1] * 60
    places = our_alarms(0.02, broken, 200)
    assert len(places) > 1
    assert places == sorted(set(places))
    assert our_alarms(0.02, [0] * 500, 200) == []


def test_a_rival_gets_its_most_eager_setting_within_each_family() -> None:
    rival = Rival("window", lambda allowed: Window(100, allowed), (0.0, 0.02, 0.04, 0.2), 0.0)
    families = healthy_streams(0.02, 0.01, 50, runs=5, seed=1)
    counts = [sum(len(alarms(lambda: Window(100, 0.04), each)) for each in family) for family in families]
    assert calibrated(rival, families, counts) == 0.04
    assert calibrated(rival, families, (0, 0, 0)) in (0.04, 0.2)
    assert calibrated(Rival("never calm", rival.make, (0.0,), 0.0), families, (0, 0, 0)) is None


def test_places_never_share_a_picture_between_what_is_served_and_what_examines(atlas: Atlas) -> None:
    place = atlas.places["old"]
    taught = set(atlas.split.train.ids) | set(atlas.split.golden.ids) | set(atlas.split.validation.ids)
    assert not set(place.stream.ids) & set(place.exam.ids)
    assert not taught & (set(place.stream.ids) | set(place.exam.ids))


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_changed_place_keeps_labels_and_order(atlas: Atlas, name: str) -> None:
    changed, old = atlas.place(name, 1.0), atlas.places["old"]
    assert (changed.stream.labels == old.stream.labels).all()
    assert images_of(changed.stream.batch).shape == images_of(old.stream.batch).shape
    assert (images_of(changed.stream.batch) != images_of(old.stream.batch)).any()
    assert atlas.place(name, 1.0) is changed


def test_streams_show_the_old_world_until_the_change(atlas: Atlas) -> None:
    by_name = {each.name: each for each in scenarios(atlas, {"2": 0.2})}
    assert "new-writers" not in by_name, "the bundled digits have no writers"
    stream = by_name["abrupt-scanner"]
    draw = np.random.default_rng(0)
    before = stream.pictures(atlas, CHANGE - 0.1, draw)
    after = stream.pictures(atlas, CHANGE + 0.1, draw)
    assert len(before) == PER_HOUR
    assert {each.place for each in before} == {"old"}
    assert {each.place for each in after} == {"old", "rescanned"}


def test_in_a_stream_of_sheets_a_request_holds_all_that_one_writer_wrote(atlas: Atlas) -> None:
    old = atlas.places["old"]
    writers = tuple(f"0/{index // 20:04d}" for index in range(len(old.stream)))
    written = Atlas(atlas.split, {"old": Place(replace(old.stream, groups=writers), old.exam)})
    stream = next(each for each in scenarios(written, {}) if each.name == "writer-by-writer")
    shown = stream.pictures(written, 0.0, np.random.default_rng(0))
    assert len(shown) >= PER_HOUR
    for sheet in {each.sheet for each in shown}:
        [writer] = {writers[each.index] for each in shown if each.sheet == sheet}
        assert sum(each.sheet == sheet for each in shown) == writers.count(writer)
    assert "writer-by-writer" not in {each.name for each in scenarios(atlas, {})}, "the bundled digits have no writers"


def test_a_quick_stream_is_shorter_and_keeps_its_change(atlas: Atlas) -> None:
    for each in scenarios(atlas, {"2": 0.2}):
        short = in_short(each)
        assert short.days <= each.days
        assert all(change < short.days for change in each.changes)


@pytest.fixture(scope="module")
def first(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a first version."""
    home = tmp_path_factory.mktemp("gym") / "first"
    first_champion(home, atlas, 3.0)
    return home


def test_an_alarm_about_a_class_that_was_misread_too_often_from_the_start_is_no_false_one(
    atlas: Atlas, first: Path, tmp_path: Path
) -> None:
    healthy = next(each for each in scenarios(atlas, {}) if each.name == "stationary")
    stage = Stage(tmp_path / "home", first, atlas, 1, margin=3.0)
    said = stage.answers(1, "old", 1.0, "stream")
    truths = atlas.places["old"].stream.labels
    said[truths != 3] = np.eye(10, dtype=np.float32)[truths[truths != 3]]
    said[truths == 3] = np.eye(10, dtype=np.float32)[3]
    assert standing(stage, healthy) == frozenset()
    threes = np.flatnonzero(truths == 3)
    said[threes[: len(threes) // 4]] = np.eye(10, dtype=np.float32)[5]
    assert stage.misread_classes({("old", 1.0): 1.0})["3"] == pytest.approx(len(threes) // 4 / len(threes))
    assert standing(stage, healthy) == {("class-error", "3")}
    played = play(stage, replace(healthy, days=6.0), renews=False)
    stage.close()
    assert (played.false_alarms, played.standing, played.found_day) == (0, 1, None)
    assert [text.split(" on day ")[0] for text in played.fired] == ["class-error 3"]
    assert played.fired[0].endswith("beyond its limit")


def test_where_complaints_come_first_a_wrong_answer_is_known_sooner_than_a_right_one(
    atlas: Atlas, first: Path, tmp_path: Path
) -> None:
    stream = next(each for each in scenarios(atlas, {}) if each.name == "complaints-first")
    stage = Stage(tmp_path / "home", first, atlas, 1, per_day=stream.audits_per_day, margin=3.0)
    played = play(stage, replace(stream, days=6.5), renews=False)
    assert played.wrong, "a part of the wrong answers is known after a day"
    assert all(played.wrong), "and no right one before a week"
    stage.close()


def test_a_stream_is_the_same_every_time(atlas: Atlas, first: Path, tmp_path: Path) -> None:
    stream = replace(next(each for each in scenarios(atlas, {}) if each.name == "abrupt-scanner"), days=1.0)
    played = []
    for name in ("once", "again"):
        stage = Stage(tmp_path / name, first, atlas, 3, margin=3.0)
        played.append(play(stage, stream, renews=False))
        stage.close()
    assert played[0].evaluations == 24
    assert played[0].labels > 100
    assert played[0].wrong == played[1].wrong
    assert played[0].false_alarms == played[1].false_alarms == 0

    home = tmp_path / "gym"
    (home / "played").mkdir(parents=True)
    (home / "shares").mkdir()
    (home / "first").symlink_to(first)
    gym = Gym(home, atlas, None, 1, 0, quick=True)
    kept = gym.played(stream, 3, renews=False)
    assert kept.wrong == played[0].wrong
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gym, "stage", None)
        assert gym.played(stream, 3, renews=False) == kept, "what was played is read, not played again"
