"""Pictures looked at by a real network: real digits, real changes, and never a retraining."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.monitoring.drift_report import write_drift_report
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.input_drift import FEATURE_NAMES, InputDriftMonitor, comparable_measures
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from monitors.statistics.holm import holm_rejections
from monitors.statistics.two_sample import EMBEDDING, FeatureSample, compare_samples
from monitors.windows.window import Window
from pipelines.builtin.digits import COMPACT
from pipelines.data import content_hash, image_batch, image_row, images_of
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.datasets.optdigits import load_optdigits
from pipelines.discovery import find_pipeline
from pipelines.engines.embedding import Embedder
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.image.image_statistics import STATISTICS, image_statistics
from pipelines.image.simulated_shift import simulate_scanner_shift
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from registry.model_package import MODEL_FILE
from tests.support.monitoring_world import RULES, all_alerts, all_retrainings, promote, rule, tick, with_rules
from tests.support.platform_world import FakeCatalog, recorded
from tests.support.version_folder import write_contract

Images = NDArray[np.uint8]
WATCHED = (
    RULES
    + """\
  - {name: input-drift, metric: input_drift, above: 25 %, window: 1d, min_samples: 150, severity: info, every: 1h,
      reference: 1001s, false_alarms: 1 per 90d, notify: [team-slack]}
"""
)
FIRST = 1_000


class Shelf(FakeCatalog):
    """A registry whose versions all have the same model file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.fetched = folder, 0

    def download(self, name: str, version: int, target: Path) -> Path:
        self._ask()
        self.fetched += 1
        return self.folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network that reads the bundled digits."""
    split, folder = find_pipeline("digits").load(None), tmp_path_factory.mktemp("model")
    fitted = fit(build_network(COMPACT, 10, seed=0), COMPACT, split.train, split.validation, seed=0)
    assert fitted.history[fitted.best_epoch - 1].validation_accuracy > 0.95
    save_exportable(build_exportable(fitted.network), folder / MODEL_FILE)
    write_contract(folder)
    return folder


@pytest.fixture(scope="module")
def digits() -> Images:
    """The bundled digits in an order of no meaning."""
    images = images_of(load_optdigits().batch)
    return images[np.random.default_rng(0).permutation(len(images))]


@pytest.fixture
def catalog(model: Path) -> FakeCatalog:
    return Shelf(model)


@pytest.fixture
def world(context: AppContext, digits: Images) -> AppContext:
    """Version 1 has given its first answers."""
    promote(with_rules(context, WATCHED))
    show(context, digits[:FIRST])
    return context


def show(context: AppContext, images: Images, version: int = 1, clients: Sequence[str] = ()) -> None:
    """Answers on these pictures, one each second."""
    now = context.clock()
    rows = [
        shown(image, now + n * timedelta(seconds=1), version, clients[n] if clients else "client")
        for n, image in enumerate(images)
    ]
    recorded(context.database, *rows)
    tick(context, seconds=len(images) + 1)


def show_in_requests(context: AppContext, images: Images, size: int) -> None:
    """Answers on these pictures, so many in each request."""
    now = context.clock()
    rows = [shown(image, now + n // size * size * timedelta(seconds=1), 1) for n, image in enumerate(images)]
    for first in range(0, len(rows), size):
        request = rows[first].prediction.request_id
        rows[first : first + size] = [
            replace(row, prediction=replace(row.prediction, request_id=request)) for row in rows[first : first + size]
        ]
    recorded(context.database, *rows)
    tick(context, seconds=len(images) + 1)


def shown(image: Images, at: object, version: int, client: str = "client") -> PredictionWithInput:
    key = uuid7()
    row = PredictionRecord(key, at, "digits", version, content_hash(image), "3", [0.1] * 10, 0.1, 2.0, key, client)  # type: ignore[arg-type]
    return PredictionWithInput(row, image_row(image))


def look(context: AppContext, drift: InputDriftMonitor | None = None) -> Evaluation:
    made = evaluate(context, rule(context, "input-drift"), context.clock(), drift=drift)
    assert made is not None
    return made


def turned(images: Images, degrees: float) -> Images:
    return np.stack([ndimage.rotate(image, degrees, reshape=False, order=1) for image in images])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda images: turned(images, 20), "what the network itself sees"),
        (lambda images: ndimage.gaussian_filter(images, (0, 1, 1)), "the sharpness"),
        (lambda images: simulate_scanner_shift(images, 0), "the light of their ground"),
        (lambda images: np.clip(images.astype(int) + 30, 0, 255).astype(np.uint8), "the light of their ground"),
    ],
    ids=["turned", "blurred", "another scanner", "brighter"],
)
def test_changed_pictures_are_a_breach_that_names_what_changed_and_starts_no_retraining(
    world: AppContext, digits: Images, change: Callable[[Images], Images], named: str
) -> None:
    show(world, change(digits[FIRST : FIRST + 200]))
    found = look(world)
    assert found.state == "breach"
    assert named in found.findings[0]["sentence"]
    assert [(alert.rule, alert.state) for alert in all_alerts(world)] == [("input-drift", "firing")]
    assert all_retrainings(world) == []


def test_more_pictures_of_the_same_kind_are_no_drift(world: AppContext, digits: Images) -> None:
    show(world, digits[FIRST : FIRST + 500])
    found = look(world)
    assert found.state == "ok"
    assert found.findings[0]["n"] == 500
    assert all_alerts(world) == []


def test_pictures_of_a_few_requests_prove_nothing_and_those_of_many_count_request_by_request(
    context: AppContext, digits: Images
) -> None:
    promote(with_rules(context, WATCHED))
    show_in_requests(context, digits[:FIRST], 40)
    show_in_requests(context, simulate_scanner_shift(digits[FIRST : FIRST + 200], 0), 40)
    few = look(context)
    assert few.state == "insufficient"
    assert "came from 5 requests" in few.findings[0]["sentence"]
    show_in_requests(context, simulate_scanner_shift(digits[FIRST + 200 : FIRST + 600], 0), 20)
    found = look(context)
    assert found.state == "breach"
    assert "(of 25 requests against" in found.findings[0]["sentence"]


def test_with_many_clients_each_client_counts_as_a_whole(context: AppContext, digits: Images) -> None:
    promote(with_rules(context, WATCHED))
    clients = [f"client {n % 30}" for n in range(FIRST + 300)]
    show(context, digits[:FIRST], clients=clients[:FIRST])
    show(context, digits[FIRST : FIRST + 300], clients=clients[FIRST:])
    found = look(context)
    assert found.state == "ok"
    assert "(of 30 clients against 30, each of which counts as a whole)" in found.findings[0]["sentence"]


def test_until_the_first_answers_are_complete_nothing_is_decided(context: AppContext, digits: Images) -> None:
    promote(with_rules(context, WATCHED))
    show(context, digits[: FIRST - 1])
    assert look(context).state == "insufficient"
    show(context, digits[FIRST - 1 : FIRST + 10])
    found = look(context)
    assert found.state == "insufficient"
    assert "10 newly" in found.findings[0]["sentence"]


@pytest.mark.both_databases
def test_the_first_pictures_are_looked_at_once_and_found_again_after_a_restart(
    world: AppContext, digits: Images
) -> None:
    assert isinstance(world.catalog, Shelf)
    show(world, digits[FIRST : FIRST + 200])
    drift = InputDriftMonitor(world)
    before = look(world, drift).findings
    tick(world, hours=1)
    again = look(world, drift).findings
    assert world.catalog.fetched == 1
    tick(world, seconds=1)
    assert look(world, InputDriftMonitor(world)).findings == before == again
    assert world.catalog.fetched == 2


def test_a_new_version_is_held_against_its_own_first_answers(world: AppContext, digits: Images) -> None:
    show(world, digits[FIRST : FIRST + 200])
    look(world)
    promote(world, 2)
    scanned = simulate_scanner_shift(digits, 0)
    show(world, scanned[:FIRST], version=2)
    show(world, scanned[FIRST : FIRST + 300], version=2)
    found = look(world)
    assert (found.model_version, found.state) == (2, "ok")


def test_a_slot_that_is_done_is_not_looked_at_again(world: AppContext, digits: Images) -> None:
    assert isinstance(world.catalog, Shelf)
    show(world, digits[FIRST : FIRST + 200])
    look(world)
    assert evaluate(world, rule(world, "input-drift"), world.clock()) is None
    assert world.catalog.fetched == 1


def test_a_champion_that_cannot_be_fetched_is_an_error_and_no_evaluation(
    world: AppContext, digits: Images, database: Database
) -> None:
    assert isinstance(world.catalog, Shelf)
    show(world, digits[FIRST : FIRST + 200])
    world.catalog.away = ConnectionError("MLflow is away")
    with pytest.raises(ConnectionError, match="MLflow is away"):
        look(world)
    world.catalog.away = None
    assert look(world).state == "ok"


@pytest.fixture(params=["bundled", "MNIST"])
def pictures(request: pytest.FixtureRequest, digits: Images) -> Images:
    if request.param == "bundled":
        return digits
    if "PLATFORM_TEST_MNIST_DIR" not in os.environ:
        pytest.skip("PLATFORM_TEST_MNIST_DIR names no MNIST folder")
    return images_of(load_idx_folder(Path(os.environ["PLATFORM_TEST_MNIST_DIR"]))[1].batch)[:5_000]


def test_looks_at_the_same_digits_are_wrong_at_most_as_often_as_promised(model: Path, pictures: Images) -> None:
    embed, level = Embedder(load_torch_engine(model / MODEL_FILE, find_pipeline("digits").classes)), 0.1
    stats, embedded, generator = image_statistics(pictures), embed(image_batch(pictures)), np.random.default_rng(4)
    wrong = 0
    for _ in range(60):
        order = generator.permutation(len(pictures))[:300]
        first, newest = (
            FeatureSample({name: each[rows] for name, each in stats.items()}, embedded[rows])
            for rows in (order[:150], order[150:])
        )
        wrong += any(holm_rejections([each.p_value for each in compare_samples(first, newest, {}, level)], level))
    assert wrong <= 60 * level + 3 * (60 * level * (1 - level)) ** 0.5


def test_every_measure_has_a_plain_name() -> None:
    assert set(FEATURE_NAMES) == {*STATISTICS, EMBEDDING}


def test_behind_a_warning_evidently_tests_each_number_of_the_pictures(
    world: AppContext, digits: Images, tmp_path: Path
) -> None:
    watched = rule(world, "input-drift")
    assert InputDriftMonitor(world).profiles(watched, world.clock()) is None
    show(world, simulate_scanner_shift(digits[FIRST : FIRST + 200], 0))
    now = world.clock()
    window = Window("digits", 1, find_pipeline("digits").classes, now - watched.window, now, ())
    assert write_drift_report(world, watched, window, tmp_path / "beside.html")
    page = (tmp_path / "beside.html").read_text(encoding="utf-8")
    assert "sharpness" in page
    assert "K-S" in page


def test_names_are_ordered_by_both_samples_and_missing_values_come_last() -> None:
    first = {"age": np.array([1.0, np.nan]), "plan": np.array(["gold", ""], dtype=object)}
    newest = {"age": np.array([2.0]), "plan": np.array(["free"], dtype=object)}
    before, now = comparable_measures(first, newest)
    assert (before["age"].tolist(), now["age"].tolist()) == ([1.0, np.inf], [2.0])
    assert (before["plan"].tolist(), now["plan"].tolist()) == ([2.0, 0.0], [1.0])
