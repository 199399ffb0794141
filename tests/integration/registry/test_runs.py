"""A training run as MLflow keeps it."""

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from registry.errors import RegistryError, RegistryUnavailableError
from registry.model_package import SHA256_TAG, TorchFiles
from registry.runs import TRIGGER_TAG, TrackingStore
from tests.support.mlflow_store import CONTRACT, Logged, free_port

if TYPE_CHECKING:
    from mlflow.entities import Run as Record


def record_of(tracking: TrackingStore, run_id: str) -> "Record":
    return tracking.connection.client.get_run(run_id)


def artifact(tracking: TrackingStore, run_id: str, path: str) -> bytes:
    folder = str(record_of(tracking, run_id).info.artifact_uri).removeprefix("file://")
    return Path(folder, path).read_bytes()


def test_a_finished_run_holds_what_was_logged(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "all kinds", {"colour": "blue"}) as run:
        run.log_params({"learning_rate": 0.001, "name": "compact", "epochs": 3})
        run.log_metrics({"validation_loss": 0.5}, step=1)
        run.log_metrics({"validation_loss": 0.25}, step=2)
        run.set_tags({"verdict": "promote"})
        run.log_figure("loss", lambda: b"\x89PNG")
        run.log_text("card.md", "# Card")
        run.log_json("verdict.json", {"outcome": "promote"})
    record = record_of(tracking, run.id)
    assert record.info.status == "FINISHED"
    assert record.data.params == {"learning_rate": "0.001", "name": "compact", "epochs": "3"}
    assert record.data.metrics == {"validation_loss": 0.25}
    assert record.data.tags["verdict"] == "promote"
    assert record.data.tags["colour"] == "blue"
    assert artifact(tracking, run.id, "figures/loss.png") == b"\x89PNG"
    assert artifact(tracking, run.id, "card.md") == b"# Card"
    assert json.loads(artifact(tracking, run.id, "verdict.json")) == {"outcome": "promote"}


def test_every_epoch_of_a_metric_is_kept(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "epochs") as run:
        for epoch in (1, 2, 3):
            run.log_metrics({"loss": 1 / epoch, "accuracy": 0.9}, step=epoch)
    history = tracking.connection.client.get_metric_history(run.id, "loss")
    assert [point.step for point in history] == [1, 2, 3]


def test_the_histories_of_metrics_are_read_by_a_part_of_their_name(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "histories") as run:
        for epoch in (1, 2, 3):
            run.log_metrics({"train_loss": 1 / epoch, "validation_loss": 2 / epoch, "accuracy": 0.9}, step=epoch)
        run.log_metrics({"train_loss": 0.25}, step=3)
        run.log_metrics({"validation_loss": float("inf")}, step=4)
    histories = tracking.read_metric_histories(run.id, "loss", 5)
    assert histories == {
        "train_loss": [(1, 1.0), (2, 0.5), (3, 0.25)],
        "validation_loss": [(1, 2.0), (2, 1.0), (3, 2 / 3)],
    }
    assert list(tracking.read_metric_histories(run.id, "loss", 1)) == ["train_loss"]
    with pytest.raises(RegistryError):
        tracking.read_metric_histories("0" * 32, "loss", 5)


def test_a_run_carries_its_provenance_and_the_caller_may_name_the_trigger(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "tags", {TRIGGER_TAG: "alert-7"}) as run:
        pass
    tags = record_of(tracking, run.id).data.tags
    assert tags[TRIGGER_TAG] == "alert-7"
    assert tags["mlplatform.torch"].startswith("2.")


def test_a_dataset_shows_as_an_input_with_its_role_and_whole_digest(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "data") as run:
        run.log_dataset("optdigits", "a" * 64, "scikit-learn", "golden", 395)
    (used,) = record_of(tracking, run.id).inputs.dataset_inputs
    assert used.dataset.name == "optdigits"
    assert json.loads(used.dataset.profile) == {"num_rows": 395, "digest": "a" * 64}
    assert [tag.value for tag in used.tags] == ["golden"]


def test_an_error_in_the_block_fails_the_run_and_passes_on(tracking: TrackingStore) -> None:
    with pytest.raises(ZeroDivisionError), tracking.start_run("logging", "error") as run:
        raise ZeroDivisionError
    assert record_of(tracking, run.id).info.status == "FAILED"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_a_stop_in_the_block_kills_the_run_and_passes_on(tracking: TrackingStore, stop: type[BaseException]) -> None:
    with pytest.raises(stop), tracking.start_run("logging", "stop", stop_errors=(TimeoutError,)) as run:
        raise stop
    assert record_of(tracking, run.id).info.status == "KILLED"


def test_a_run_that_cannot_be_closed_does_not_hide_the_first_error(
    tracking: TrackingStore, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_the_run() -> None:
        with tracking.start_run("logging", "lost on the way") as run:
            run.id = "0" * 32
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lose_the_run()
    assert "stays open, not FAILED" in caplog.text


def test_an_abandoned_run_can_be_closed_by_its_id(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "abandoned") as run:
        pass
    tracking.close_run(run.id, "KILLED")
    assert record_of(tracking, run.id).info.status == "KILLED"


def test_closing_an_unknown_run_is_a_registry_error(tracking: TrackingStore) -> None:
    with pytest.raises(RegistryError, match="not found"):
        tracking.close_run("0" * 32, "KILLED")


def test_runs_that_start_at_once_share_one_new_experiment(tracking: TrackingStore) -> None:
    tracking.check()
    found: list[str] = []
    gate = threading.Barrier(4)

    def start() -> None:
        gate.wait()
        with tracking.start_run("raced", "one of four") as run:
            found.append(run.experiment_id)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_files_go_under_the_artifact_root(tracking: TrackingStore, folder: Path) -> None:
    with tracking.start_run("logging", "files") as run:
        run.log_text("note.txt", "here")
    assert (folder / "artifacts" / "logging" / run.id / "artifacts" / "note.txt").read_text() == "here"


def test_texts_of_runs_are_read_and_a_run_that_is_gone_has_none(tracking: TrackingStore) -> None:
    with tracking.start_run("logging", "texts") as run:
        run.log_text("note.txt", "here")
        run.log_text("lineage/gate.json", "{}")
    assert tracking.read_text(run.id, "note.txt") == "here"
    assert tracking.read_text(run.id, "lineage/gate.json") == "{}"
    assert tracking.read_text(run.id, "other.txt") is None
    assert tracking.read_text(run.id, "lineage/other.json") is None
    assert tracking.read_text("0" * 32, "note.txt") is None


def test_a_logged_model_is_ready_digested_and_an_output_of_its_run(tracking: TrackingStore, logged: Logged) -> None:
    model = tracking.connection.client.get_logged_model(logged.uri.removeprefix("models:/"))
    assert model.status == "READY"
    assert len(model.tags[SHA256_TAG]) == 64
    (output,) = record_of(tracking, logged.run_id).outputs.model_outputs
    assert output.model_id == model.model_id


def test_a_model_that_cannot_be_saved_is_marked_failed(tracking: TrackingStore) -> None:
    example = np.zeros((2, 4), np.float32)
    with pytest.raises(TypeError), tracking.start_run("unsaved", "no module") as run:
        run.log_model(TorchFiles("not a module", example, example), ["numpy"], CONTRACT)
    (model,) = tracking.connection.client.search_logged_models([run.experiment_id])
    assert model.status == "FAILED"


def test_a_dead_store_is_reported_when_the_run_starts() -> None:
    dead = TrackingStore(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RegistryUnavailableError, match="did not answer"), dead.start_run("x", "y"):
        pass
