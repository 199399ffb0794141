"""The registered versions of a model and the aliases that point at them."""

import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.catalog import CHALLENGER, CHAMPION, DESCRIPTION_LIMIT, Catalog
from registry.errors import (
    CorruptModelError,
    NoChampionError,
    RegistryError,
    RegistryUnavailableError,
    UnknownVersionError,
)
from registry.model_package import (
    CONTRACT_SHA256_TAG,
    METADATA_FILE,
    MODEL_FILE,
    ONNX_FILE,
    ONNX_SHA256_TAG,
    SHA256_TAG,
    model_digest,
    read_contract,
)
from registry.runs import TrackingStore
from tests.support.mlflow_store import CONTRACT, Logged, log_tiny_model


def test_the_first_version_is_one_and_reads_back_whole(catalog: Catalog, logged: Logged) -> None:
    number = catalog.register("whole", logged.uri, logged.run_id, {"recipe": "compact"}, "# Card")
    catalog.set_alias("whole", CHALLENGER, number)
    version = catalog.version("whole", number)
    assert (version.name, version.version, version.run_id) == ("whole", 1, logged.run_id)
    assert version.tags["recipe"] == "compact"
    assert version.aliases == (CHALLENGER,)
    assert abs(datetime.now(UTC) - version.created_at) < timedelta(minutes=5)


def test_versions_come_newest_first_with_their_aliases(catalog: Catalog, logged: Logged) -> None:
    for _ in range(3):
        catalog.register("listed", logged.uri, logged.run_id)
    catalog.set_alias("listed", CHAMPION, 2)
    listed = catalog.versions("listed")
    assert [item.version for item in listed] == [3, 2, 1]
    assert [item.aliases for item in listed] == [(), (CHAMPION,), ()]


def test_a_model_never_registered_has_no_versions_and_no_alias(catalog: Catalog) -> None:
    assert catalog.versions("never") == ()
    assert catalog.alias("never", CHAMPION) is None


@pytest.mark.parametrize("name", ["", "../up", "a' OR name = 'b", "two words"])
def test_a_name_that_could_be_a_path_or_a_query_is_refused(catalog: Catalog, logged: Logged, name: str) -> None:
    with pytest.raises(RegistryError, match="is no model name"):
        catalog.register(name, logged.uri, logged.run_id)
    assert catalog.versions(name) == ()


def test_versions_registered_at_once_get_different_numbers(catalog: Catalog, logged: Logged) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(catalog.register("raced", logged.uri, logged.run_id)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3]


def test_an_alias_moves_and_can_be_removed_twice(catalog: Catalog, logged: Logged) -> None:
    for _ in range(2):
        catalog.register("moved", logged.uri, logged.run_id)
    catalog.set_alias("moved", CHAMPION, 1)
    catalog.set_alias("moved", CHAMPION, 2)
    assert catalog.alias("moved", CHAMPION) == 2
    assert catalog.champion("moved").version == 2
    catalog.delete_alias("moved", CHAMPION)
    catalog.delete_alias("moved", CHAMPION)
    assert catalog.alias("moved", CHAMPION) is None


def test_a_model_without_a_champion_says_so(catalog: Catalog, logged: Logged) -> None:
    catalog.register("leaderless", logged.uri, logged.run_id)
    with pytest.raises(NoChampionError, match="'leaderless'"):
        catalog.champion("leaderless")


def test_an_unknown_version_error_names_those_that_exist(catalog: Catalog, logged: Logged) -> None:
    catalog.register("counted", logged.uri, logged.run_id)
    with pytest.raises(UnknownVersionError, match="'counted' has no version 9; registered: 1"):
        catalog.version("counted", 9)
    with pytest.raises(UnknownVersionError, match="registered: 1"):
        catalog.set_alias("counted", CHAMPION, 9)
    with pytest.raises(UnknownVersionError, match="registered: none"):
        catalog.version("never", 1)


def test_tags_can_be_set_later(catalog: Catalog, logged: Logged) -> None:
    number = catalog.register("later", logged.uri, logged.run_id)
    catalog.set_tag("later", number, "verdict", "promote")
    version = catalog.version("later", number)
    assert version.tags["verdict"] == "promote"
    for _ in range(2):
        catalog.delete_tag("later", number, "verdict")
    assert "verdict" not in catalog.version("later", number).tags
    with pytest.raises(UnknownVersionError):
        catalog.delete_tag("later", 99, "verdict")


def test_a_card_longer_than_the_column_is_cut_and_says_so(catalog: Catalog, logged: Logged) -> None:
    number = catalog.register("long", logged.uri, logged.run_id, description="x" * 6000)
    description = catalog.version("long", number).description
    assert len(description) == DESCRIPTION_LIMIT
    assert "whole card is an artifact" in description


def test_an_unknown_model_uri_and_one_without_a_digest_are_refused(
    catalog: Catalog, tracking: TrackingStore, logged: Logged
) -> None:
    with pytest.raises(RegistryError, match="m-absent"):
        catalog.register("refused", "models:/m-absent", logged.run_id)
    with tracking.start_run("tiny", "bare") as run:
        bare = tracking.connection.client.create_logged_model(run.experiment_id, "bare")
    with pytest.raises(RegistryError, match=r"has no model_sha256 tag: log the model with Run\.log_model"):
        catalog.register("refused", f"models:/{bare.model_id}", run.id)


def test_a_download_holds_the_registered_file_and_leaves_nothing_else(
    catalog: Catalog, logged: Logged, tmp_path: Path
) -> None:
    number = catalog.register("fetched", logged.uri, logged.run_id)
    folder = catalog.download("fetched", number, tmp_path)
    assert folder == tmp_path / "fetched" / "1"
    assert model_digest(folder) == catalog.version("fetched", number).tags[SHA256_TAG]
    assert (folder / "MLmodel").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_a_second_download_reuses_an_intact_copy_and_replaces_a_damaged_one(
    catalog: Catalog, logged: Logged, tmp_path: Path
) -> None:
    number = catalog.register("reused", logged.uri, logged.run_id)
    folder = catalog.download("reused", number, tmp_path)
    before = (folder / MODEL_FILE).stat()
    catalog.download("reused", number, tmp_path)
    assert (folder / MODEL_FILE).stat().st_mtime_ns == before.st_mtime_ns
    (folder / MODEL_FILE).write_bytes(b"damaged")
    catalog.download("reused", number, tmp_path)
    assert (folder / MODEL_FILE).stat().st_size == before.st_size


def test_downloads_at_once_agree_on_one_folder(catalog: Catalog, logged: Logged, tmp_path: Path) -> None:
    number = catalog.register("together", logged.uri, logged.run_id)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(catalog.download("together", number, tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "together" / "1"] * 4
    assert [path.name for path in (tmp_path / "together").iterdir()] == ["1"]


def test_a_file_changed_in_the_store_is_not_handed_out(
    catalog: Catalog, tracking: TrackingStore, tmp_path: Path
) -> None:
    fresh = log_tiny_model(tracking)
    number = catalog.register("forged", fresh.uri, fresh.run_id)
    stored = Path(catalog.version("forged", number).source.removeprefix("file://")) / MODEL_FILE
    stored.write_bytes(b"forged")
    with pytest.raises(CorruptModelError, match="should have sha256"):
        catalog.download("forged", number, tmp_path)
    stored.unlink()
    with pytest.raises(CorruptModelError, match=r"has no data/model\.pt2"):
        catalog.download("forged", number, tmp_path)
    assert list((tmp_path / "forged").iterdir()) == []


def test_a_graph_is_handed_out_only_as_it_was_noted(catalog: Catalog, tracking: TrackingStore, tmp_path: Path) -> None:
    fresh = log_tiny_model(tracking, onnx=b"a graph")
    number = catalog.register("portable", fresh.uri, fresh.run_id)
    folder = catalog.download("portable", number, tmp_path)
    assert (folder / ONNX_FILE).read_bytes() == b"a graph"
    assert model_digest(folder, ONNX_FILE) == catalog.version("portable", number).tags[ONNX_SHA256_TAG]
    (folder / ONNX_FILE).write_bytes(b"damaged")
    assert (catalog.download("portable", number, tmp_path) / ONNX_FILE).read_bytes() == b"a graph"
    stored = Path(catalog.version("portable", number).source.removeprefix("file://")) / ONNX_FILE
    stored.write_bytes(b"forged")
    (folder / ONNX_FILE).unlink()
    with pytest.raises(CorruptModelError, match=r"its file data/model\.onnx has"):
        catalog.download("portable", number, tmp_path)


def test_a_version_says_what_it_takes_and_answers(catalog: Catalog, logged: Logged, tmp_path: Path) -> None:
    number = catalog.register("contracted", logged.uri, logged.run_id)
    assert catalog.contract("contracted", number) == CONTRACT
    assert read_contract(catalog.download("contracted", number, tmp_path)) == CONTRACT
    assert catalog.version("contracted", number).tags[CONTRACT_SHA256_TAG] == CONTRACT.digest
    with pytest.raises(UnknownVersionError, match="no version 9"):
        catalog.contract("contracted", 9)


def test_a_contract_that_was_changed_is_not_believed(catalog: Catalog, tracking: TrackingStore, tmp_path: Path) -> None:
    fresh = log_tiny_model(tracking)
    number = catalog.register("swapped", fresh.uri, fresh.run_id)
    file = Path(catalog.version("swapped", number).source.removeprefix("file://")) / METADATA_FILE
    before = file.read_text()
    file.write_text(before.replace("even", "uneven"))
    with pytest.raises(CorruptModelError, match="its file MLmodel has"):
        catalog.contract("swapped", number)
    with pytest.raises(CorruptModelError, match="its file MLmodel has"):
        catalog.download("swapped", number, tmp_path)
    file.write_text(before)
    (catalog.download("swapped", number, tmp_path) / METADATA_FILE).write_text("metadata: {contract: {}}")
    assert read_contract(catalog.download("swapped", number, tmp_path)) == CONTRACT


def test_a_graph_that_nobody_noted_is_left_out(catalog: Catalog, tracking: TrackingStore, tmp_path: Path) -> None:
    fresh = log_tiny_model(tracking)
    number = catalog.register("smuggled", fresh.uri, fresh.run_id)
    (Path(catalog.version("smuggled", number).source.removeprefix("file://")) / ONNX_FILE).write_bytes(b"smuggled")
    folder = catalog.download("smuggled", number, tmp_path)
    assert not (folder / ONNX_FILE).exists()
    (folder / ONNX_FILE).write_bytes(b"smuggled later")
    assert not (catalog.download("smuggled", number, tmp_path) / ONNX_FILE).exists()


def test_what_is_registered_directly_is_served_and_the_other_way_round(
    catalog: Catalog, logged: Logged, server: str, tmp_path: Path
) -> None:
    remote_tracking = TrackingStore(server)
    remote = Catalog(remote_tracking)
    direct_version = catalog.register("both", logged.uri, logged.run_id)
    over_http = log_tiny_model(remote_tracking, experiment="from afar")
    remote_version = remote.register("both", over_http.uri, over_http.run_id, description="# Card")
    remote.set_alias("both", CHAMPION, remote_version)
    assert (direct_version, remote_version) == (1, 2)
    assert catalog.champion("both") == remote.champion("both")
    assert catalog.versions("both") == remote.versions("both")
    for number in (1, 2):
        here = catalog.download("both", number, tmp_path / "direct")
        there = remote.download("both", number, tmp_path / "served")
        assert model_digest(here) == model_digest(there)
    with pytest.raises(UnknownVersionError, match="registered: 2, 1"):
        remote.version("both", 3)
    assert remote.alias("never", CHAMPION) is None


@contextmanager
def few_descriptors_left(count: int) -> Iterator[None]:
    """So many more files can be opened, then EMFILE."""
    limits, held = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 20, limits[1])
    )
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors as Linux counts them")
@pytest.mark.parametrize("cached", [True, False])
def test_a_download_without_descriptors_finds_no_version_corrupt_and_leaves_none_damaged(
    catalog: Catalog, logged: Logged, tmp_path: Path, cached: bool
) -> None:
    name = f"short-{cached}".lower()
    number = catalog.register(name, logged.uri, logged.run_id)
    failures = 0
    for left in range(12):
        target = tmp_path / ("cached" if cached else str(left))
        if cached:
            catalog.download(name, number, target)
        with few_descriptors_left(left):
            try:
                catalog.download(name, number, target)
            except (RegistryUnavailableError, OSError):
                failures += 1
        folder = catalog.download(name, number, target)
        assert model_digest(folder) == catalog.version(name, number).tags[SHA256_TAG]
        catalog.download(name, number, tmp_path / "next")
        (tmp_path / "next" / name / str(number) / MODEL_FILE).unlink()
        assert [each.name for each in (target / name).iterdir()] == [str(number)]
    assert failures


def test_a_version_taken_out_is_unknown_and_bears_no_alias(catalog: Catalog, logged: Logged) -> None:
    first, second = (catalog.register("taken-out", logged.uri, logged.run_id) for _ in range(2))
    catalog.set_alias("taken-out", "challenger", second)
    catalog.delete_version("taken-out", second)
    assert [each.version for each in catalog.versions("taken-out")] == [first]
    assert catalog.alias("taken-out", "challenger") is None
    with pytest.raises(UnknownVersionError):
        catalog.delete_version("taken-out", second)
