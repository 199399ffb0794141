"""The reloader swaps whole models in and keeps the old one whatever goes wrong with the new one."""

import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mlplatform.alerting import evaluations
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.promotion import promotion_history, quarantines
from mlplatform.serve.api_server import build_server
from mlplatform.serve.host_class import host_class
from mlplatform.serve.inference.alias_monitor import CHECK_INTERVAL_SECONDS, AliasMonitor
from mlplatform.serve.inference.model_reloader import ModelReloader
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from mlplatform.serve.inference.target_version import pinned_digests
from mlplatform.store import leases
from pipelines.data import image_batch
from pipelines.engines.exportable import Exportable, build_exportable, save_exportable
from registry.errors import RegistryUnavailableError
from registry.model_package import CONTRACT_SHA256_TAG, MODEL_FILE, ONNX_FILE, SHA256_TAG
from tests.support.api_server import NAME, Flaky, StockedCatalog, loaded, module
from tests.support.platform_world import START
from tests.support.version_folder import DIGITS
from tests.support.waiting import eventually

BLANK = np.zeros((1, 28, 28), np.uint8)
AWAY = RegistryUnavailableError("the registry is away")


class Nothing(nn.Module):
    """Answers numbers that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((10,), torch.nan))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(dim=1, keepdim=True) + self.bias


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole model files of versions 1 and 2, one for pictures of another size, and one without numbers."""
    folder = tmp_path_factory.mktemp("archives")

    def archive(name: str, made: Exportable) -> bytes:
        save_exportable(made, folder / name)
        return (folder / name).read_bytes()

    return {
        "1": archive("1", module(1)),
        "2": archive("2", module(2)),
        "size": archive("size", module(3, side=12)),
        "NaN": archive("NaN", build_exportable(Nothing())),
        "text": b"hello",
    }


@pytest.fixture
def champion(stocked: StockedCatalog, files: dict[str, bytes]) -> StockedCatalog:
    """A registry with good files of versions 1 and 2, version 1 champion."""
    stocked.stock(1, files["1"])
    stocked.stock(2, files["2"])
    stocked.pointers[NAME, "champion"] = 1
    return stocked


@pytest.fixture
def holder() -> ModelSlot:
    return ModelSlot()


def served(holder: ModelSlot) -> tuple[int, int]:
    """The version that answers, and the class that it answers."""
    taken = holder.get()
    return taken.version, int(taken.predictor(image_batch(BLANK)).argmax())


@pytest.fixture
def reloader(lite: AppContext, holder: ModelSlot, champion: StockedCatalog) -> ModelReloader:
    return ModelReloader(lite, holder, lambda _: None)


def test_the_champion_is_loaded_once_and_its_successor_when_the_alias_moves(
    reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    assert [reloader.poll(), reloader.poll()] == [True, False]
    assert served(holder) == (1, 1)
    champion.set_alias(NAME, "champion", 2)
    assert [reloader.poll(), reloader.poll()] == [True, False]
    assert served(holder) == (2, 2)
    champion.set_alias(NAME, "champion", 1)
    assert reloader.poll()
    assert served(holder) == (1, 1)
    assert reloader.error is None


def test_before_the_first_champion_nothing_is_loaded_and_nothing_is_wrong(
    reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    champion.delete_alias(NAME, "champion")
    assert (reloader.poll(), holder.current, reloader.error) == (False, None, None)


def test_a_removed_alias_does_not_take_the_model_away(
    reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    reloader.poll()
    champion.delete_alias(NAME, "champion")
    assert not reloader.poll()
    assert served(holder) == (1, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [("text", "not a whole pt2 archive"), ("size", "its contract says 28×28"), ("NaN", "numbers that are none")],
)
def test_a_candidate_that_cannot_answer_keeps_the_old_model_until_it_is_mended(
    reloader: ModelReloader,
    holder: ModelSlot,
    champion: StockedCatalog,
    files: dict[str, bytes],
    content: str,
    words: str,
) -> None:
    reloader.poll()
    champion.stock(2, files[content])
    champion.set_alias(NAME, "champion", 2)
    assert not reloader.poll()
    assert words in str(reloader.error)
    assert served(holder) == (1, 1)
    champion.stock(2, files["2"])
    assert reloader.poll()
    assert (served(holder), reloader.error) == ((2, 2), None)


def test_a_file_that_is_not_the_registered_one_keeps_the_old_model(
    reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    reloader.poll()
    champion.corrupt.add(2)
    champion.set_alias(NAME, "champion", 2)
    assert not reloader.poll()
    assert "sha256" in str(reloader.error)
    assert served(holder) == (1, 1)


def test_an_alias_of_a_version_that_is_gone_keeps_the_old_model(
    reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    reloader.poll()
    champion.pointers[NAME, "champion"] = 9
    assert not reloader.poll()
    assert "no version 9" in str(reloader.error)
    assert served(holder) == (1, 1)


def test_the_new_model_serves_only_after_it_was_measured(
    lite: AppContext, champion: StockedCatalog, holder: ModelSlot
) -> None:
    seen: list[tuple[int, int | None]] = []

    def measure(candidate: LoadedModel) -> None:
        seen.append((candidate.version, None if holder.current is None else holder.current.version))

    reloader = ModelReloader(lite, holder, measure)
    reloader.poll()
    champion.set_alias(NAME, "champion", 2)
    reloader.poll()
    assert seen == [(1, None), (2, 1)]


@pytest.mark.parametrize("error", [RuntimeError("a shape that torch cannot add"), AssertionError(), MemoryError()])
def test_whatever_a_candidate_raises_while_it_is_measured_keeps_the_old_model(
    lite: AppContext, champion: StockedCatalog, holder: ModelSlot, error: Exception
) -> None:
    def fail(_: LoadedModel) -> None:
        raise error

    holder.swap(loaded(1))
    champion.set_alias(NAME, "champion", 2)
    reloader = ModelReloader(lite, holder, fail)
    assert not reloader.poll()
    assert reloader.error == (str(error) or type(error).__name__)
    assert served(holder) == (1, 1)


def test_the_registry_away_keeps_the_model_and_is_said(
    reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    reloader.poll()
    champion.away = AWAY
    assert not reloader.poll()
    assert (served(holder), reloader.error) == ((1, 1), "the registry is away")
    champion.away = None
    assert (reloader.poll(), reloader.error) == (False, None)


def test_a_server_that_starts_while_the_registry_is_away_serves_the_last_champion_it_knew(
    lite: AppContext, reloader: ModelReloader, champion: StockedCatalog
) -> None:
    reloader.poll()
    champion.set_alias(NAME, "champion", 2)
    reloader.poll()
    champion.away = AWAY
    fresh = ModelSlot()
    again = ModelReloader(lite, fresh, lambda _: None)
    assert again.poll()
    assert served(fresh) == (2, 2)
    assert not again.poll()
    assert again.error == "the registry is away"


def promoted(context: AppContext, version: int, *, pins: dict[str, str] | None = None) -> None:
    """Let the history say that the version is champion, its files' digests pinned or not."""
    with context.database.write() as connection:
        current = promotion_history.latest_promotion(connection, NAME)
        promotion_history.append(
            connection,
            model_name=NAME,
            expected=None if current is None else current.to_version,
            to_version=version,
            kind="promote",
            now=START,
            actor="test",
            reason="because",
            fence=1,
        )
        if pins is not None:
            evaluations.store_baseline(connection, NAME, version, evaluations.ARTIFACT_DIGESTS, "", pins, START)


def test_the_history_decides_and_not_an_alias_that_somebody_moved(
    lite: AppContext, reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    promoted(lite, 1)
    champion.set_alias(NAME, "champion", 2)
    assert reloader.poll()
    assert served(holder) == (1, 1)
    assert not reloader.poll()
    champion.delete_alias(NAME, "champion")
    assert (reloader.poll(), served(holder), reloader.error) == (False, (1, 1), None)
    promoted(lite, 2)
    assert reloader.poll()
    assert served(holder) == (2, 2)


def test_an_alias_before_any_promotion_is_not_followed_into_quarantine(
    lite: AppContext, reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog
) -> None:
    with lite.database.write() as connection:
        quarantines.append_entry(connection, NAME, 1, "ada", "it failed", START, lifted=False)
    assert (reloader.poll(), holder.current) == (False, None)
    assert "quarantine" in str(reloader.error)


def test_a_champion_that_was_deleted_in_the_registry_is_missed_by_name(
    lite: AppContext,
    reloader: ModelReloader,
    holder: ModelSlot,
    champion: StockedCatalog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    promoted(lite, 1)
    del champion.held[NAME, 1], champion.pointers[NAME, "champion"]
    assert (reloader.poll(), holder.current) == (False, None)
    assert "no version 1" in str(reloader.error)
    assert "no version 1" in caplog.text


def replaced(context: AppContext, name: str, content: bytes) -> None:
    """Another file in the place of a downloaded one."""
    (context.model_cache / NAME / "1" / name).write_bytes(content)


@pytest.mark.parametrize("away", ["registry", "registry and database"])
@pytest.mark.parametrize("name", [MODEL_FILE, ONNX_FILE])
def test_a_replaced_file_is_never_answered_with_whoever_is_away(
    lite: AppContext,
    reloader: ModelReloader,
    champion: StockedCatalog,
    files: dict[str, bytes],
    flaky: Flaky,
    name: str,
    away: str,
) -> None:
    promoted(lite, 1)
    assert reloader.poll()
    replaced(lite, name, files["2"])
    champion.away, flaky.away = AWAY, away != "registry"
    fresh = ModelSlot()
    again = ModelReloader(lite, fresh, lambda _: None)
    assert (again.poll(), fresh.current) == (False, None)
    assert "sha256" in str(again.error)
    replaced(lite, MODEL_FILE, files["1"])
    (lite.model_cache / NAME / "1" / ONNX_FILE).unlink(missing_ok=True)
    assert again.poll()
    assert served(fresh) == (1, 1)


def test_a_registry_that_vouches_for_other_files_than_were_promoted_is_not_believed(
    lite: AppContext, reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog, files: dict[str, bytes]
) -> None:
    pins = {SHA256_TAG: sha256(files["1"]).hexdigest(), CONTRACT_SHA256_TAG: DIGITS.digest}
    promoted(lite, 1, pins=pins)
    champion.stock(1, files["2"])
    assert (reloader.poll(), holder.current) == (False, None)
    assert "was promoted with sha256" in str(reloader.error)
    champion.stock(1, files["1"])
    assert reloader.poll()
    assert served(holder) == (1, 1)


def test_a_version_promoted_before_digests_were_pinned_is_pinned_when_it_first_serves(
    lite: AppContext, reloader: ModelReloader, files: dict[str, bytes]
) -> None:
    promoted(lite, 1)
    assert reloader.poll()
    assert pinned_digests(lite, 1) == {
        SHA256_TAG: sha256(files["1"]).hexdigest(),
        CONTRACT_SHA256_TAG: DIGITS.digest,
    }


def test_without_the_database_the_last_champion_known_is_answered_with(
    lite: AppContext, reloader: ModelReloader, flaky: Flaky, champion: StockedCatalog
) -> None:
    promoted(lite, 1)
    reloader.poll()
    champion.set_alias(NAME, "champion", 2)
    flaky.away = True
    fresh = ModelSlot()
    again = ModelReloader(lite, fresh, lambda _: None)
    assert again.poll()
    assert served(fresh) == (1, 1)


def test_a_moved_alias_is_noted_once_when_it_is_seen_twice(lite: AppContext, champion: StockedCatalog) -> None:
    now = [0.0]
    watch = AliasMonitor(lite, lambda: now[0])

    def noted() -> list[dict[str, object]]:
        watch.check()
        now[0] += CHECK_INTERVAL_SECONDS
        with lite.database.read() as connection:
            return [
                each["details"]
                for each in audit_entries.recent_entries(connection)
                if each["action"] == "alias-deviation"
            ]

    promoted(lite, 1)
    assert noted() == []
    champion.set_alias(NAME, "champion", 2)
    assert noted() == []
    [told] = noted()
    assert (told["alias"], told["champion"]) == (2, 1)
    assert noted() == [told]
    champion.away = AWAY
    assert noted() == [told]


@pytest.mark.parametrize("broken", ["nothing", "memory", "file"])
def test_without_registry_and_memory_there_is_no_model_and_the_reason_is_said(
    lite: AppContext, reloader: ModelReloader, holder: ModelSlot, champion: StockedCatalog, broken: str
) -> None:
    if broken != "nothing":
        reloader.poll()
        folder = lite.model_cache / NAME
        if broken == "memory":
            (folder / "champion.json").write_text('{"version": ')
        else:
            (folder / "1" / MODEL_FILE).unlink()
    champion.away = AWAY
    fresh = ModelSlot()
    again = ModelReloader(lite, fresh, lambda _: None)
    assert (again.poll(), fresh.current, again.error) == (False, None, "the registry is away")
    champion.away = None
    assert again.poll()
    assert served(fresh) == (1, 1)


def test_a_champion_that_cannot_be_remembered_serves_all_the_same(
    lite: AppContext, reloader: ModelReloader, holder: ModelSlot
) -> None:
    (lite.model_cache / NAME / "champion.json").mkdir(parents=True)
    assert reloader.poll()
    assert served(holder) == (1, 1)


def test_the_first_measurement_of_a_version_is_pinned_as_its_baseline(
    lite: AppContext, champion: StockedCatalog, flaky: Flaky
) -> None:
    server = build_server(lite)
    flaky.away = True
    assert not server.reloader.poll()
    assert "away" in str(server.reloader.error)
    flaky.away = False
    assert server.reloader.poll()
    with lite.database.read() as connection:
        [(host, numbers)] = evaluations.load_baselines(connection, NAME, 1)["latency"].items()
    assert host == host_class()
    assert (numbers["calls"], numbers["threads"]) == (20, 1)
    assert 0 < numbers["p50_ms"] <= numbers["p95_ms"]
    server.thread_pool.close()


@pytest.fixture
def impatient(lite: AppContext) -> Iterator[Callable[[ModelSlot, Callable[[], None]], ModelReloader]]:
    """Starts reloaders that poll every few milliseconds."""
    quick = lite.replace(settings=lite.settings.model_copy(update={"poll_seconds": 0.01}), clock=lambda: START)
    started: list[ModelReloader] = []

    def start(holder: ModelSlot, after_poll: Callable[[], None]) -> ModelReloader:
        started.append(ModelReloader(quick, holder, lambda _: None, after_poll))
        started[0].start()
        return started[0]

    yield start
    for reloader in started:
        reloader.close()


def test_the_thread_outlives_every_failure_and_follows_the_next_champion(
    impatient: Callable[[ModelSlot, Callable[[], None]], ModelReloader],
    holder: ModelSlot,
    champion: StockedCatalog,
    flaky: Flaky,
    tmp_path: Path,
) -> None:
    failures = [ZeroDivisionError("unforeseen"), RegistryUnavailableError("away"), KeyError("x")]

    def after_poll() -> None:
        if failures:
            raise failures.pop()

    impatient(holder, after_poll)
    eventually(lambda: holder.current is not None)
    eventually(lambda: not failures)
    flaky.away = True
    time.sleep(0.05)
    flaky.away = False
    champion.set_alias(NAME, "champion", 2)
    eventually(lambda: served(holder) == (2, 2))

    def beat() -> dict[str, object]:
        with flaky.read() as connection:
            return {item.component: item.details for item in leases.recent_heartbeats(connection, START)}

    eventually(lambda: beat() == {"api": {"model_version": 2, "error": None}})
