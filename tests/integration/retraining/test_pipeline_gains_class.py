"""A pipeline that gains a class: the next candidate is compared with the champion, which never names that class."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlplatform.context import AppContext
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining.worker import training_worker
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from pipelines.candidate.training_spec import load_champion
from pipelines.data import Examples, Split, images_of
from pipelines.errors import TrainingError
from pipelines.image.image_examples import image_examples
from registry.model_contract import image_classifier
from tests.support.fake_registry import FakeTracking, MemoryCatalog, bars_family, bars_split
from tests.support.platform_world import FakeClock


@pytest.fixture
def bars(tmp_path: Path, sqlite_template: Path) -> Iterator[AppContext]:
    shutil.copy(sqlite_template, tmp_path / "platform.db")
    settings = Settings(_env_file=None, home=tmp_path, pipeline="bars")
    tracking, database = FakeTracking(), Database(f"sqlite:///{tmp_path / 'platform.db'}")
    yield AppContext(settings, FakeClock(), database=database, tracking=tracking, catalog=MemoryCatalog(tracking))
    database.close()


def with_blanks(split: Split) -> Split:
    """The same rows, and as many again of no bar at all, which are class 2."""

    def widened(name: str) -> Examples:
        side: Examples = getattr(split, name)
        blanks = np.random.default_rng(len(side) + len(name)).integers(
            0, 60, images_of(side.batch).shape, dtype=np.uint8
        )
        labels = np.concatenate([side.labels, np.full(len(side), 2, dtype=np.int64)])
        return image_examples(np.concatenate([images_of(side.batch), blanks]), labels, side.name)

    return Split(**{name: widened(name) for name in ("train", "validation", "golden", "stream")})


@pytest.mark.slow
def test_a_candidate_that_knows_a_new_class_is_for_a_person_to_promote_and_breaks_nothing(bars: AppContext) -> None:
    split = bars_split(60)
    first = bars_family(split)
    assert training_worker(bars).train(first, "the first", "me").promotion is not None
    wider = with_blanks(split)
    gained = replace(
        first, contract=image_classifier(("lying", "blank", "upright"), 12, 12), load=lambda _folder: renamed(wider)
    )
    champion = load_champion(bars.catalog, gained, 1, bars.model_cache)
    golden = renamed(wider).golden
    said = champion.predictor(golden.batch)
    known = golden.labels != 1
    assert said[:, 1].max() == 0.0
    assert (said.argmax(axis=1) == golden.labels)[known].mean() > 0.9
    outcome = training_worker(bars).train(gained, "a class was added", "me")
    verdict = outcome.candidate.verdict
    assert verdict.outcome == "inconclusive"
    assert verdict.reasons[0].endswith("let a person promote a version judged on the new one, which pins it.")
    by_hand = PromotionRequest("bars", 2, 1, "promote", "ada", "it knows blanks")
    promotion_service(bars).promote(by_hand)
    assert bars.catalog.contract("bars", 1).classes == ("upright", "lying")
    assert bars.catalog.contract("bars", 2).classes == ("lying", "blank", "upright")
    current = promotion_service(bars).current("bars")
    assert current is not None
    with bars.database.read() as connection:
        assert bars.contracts.classes_of(connection, "bars", 1) == ("upright", "lying", "blank")
        assert bars.contracts.classes_of(connection, "bars", current.to_version) == ("lying", "blank", "upright")


def renamed(split: Split) -> Split:
    """The labels by the places of lying, blank, upright."""
    places = np.array([2, 0, 1])
    sides = {name: getattr(split, name) for name in ("train", "validation", "golden", "stream")}
    return Split(
        **{name: image_examples(images_of(side.batch), places[side.labels], side.name) for name, side in sides.items()}
    )


def test_a_pipeline_of_another_size_of_pictures_is_another_model(bars: AppContext) -> None:
    family = bars_family(bars_split(32))
    training_worker(bars).train(family, "the first", "me")
    with pytest.raises(TrainingError, match="they cannot be compared; give the pipeline another name"):
        load_champion(
            bars.catalog, replace(family, contract=image_classifier(family.classes, 14, 12)), 1, bars.model_cache
        )
