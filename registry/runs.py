"""Training runs in MLflow: parameters, metrics, artefacts, the model, and tags that say where the run came from.

Importing this module is cheap: MLflow is imported by the first call that needs it. No process-wide MLflow
setting is read or changed, so one process may speak to several stores.
"""

import json
import logging
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from registry.errors import RegistryError, UnknownRunError
from registry.installed_version import installed_version
from registry.mlflow_connection import MlflowConnection, retry_while_unavailable
from registry.model_contract import ModelContract
from registry.model_package import ModelFiles, digest_tags, save_package

DIGEST_LENGTH = 32
MANUAL_TRIGGER = "manual"
TRIGGER_TAG = "mlplatform.trigger"
HUGE = sys.float_info.max
"""What MLflow keeps in place of an infinite value."""
COMMIT_TAG = "mlflow.source.git.commit"
EXPERIMENT_TAGS = (("mlflow.experimentKind", "custom_model_development"),)  # the UI opens on the runs

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


class TrackingStore:
    """One MLflow store, and where its experiments keep their files.

    `artifact_root` is a folder or URI that every client of the store reaches under the same address; give
    it for a database URI, and leave it out when an MLflow server decides.
    """

    def __init__(self, uri: str, artifact_root: str | None = None) -> None:
        self.uri = uri
        self.artifact_root = artifact_root
        self.connection = MlflowConnection(uri)

    def check(self) -> None:
        """Ask the store one small question; RegistryUnavailableError when it stays silent."""
        self.connection.check()

    def foreign_artifact_locations(self) -> dict[str, str]:
        """Experiments whose files are kept outside of `artifact_root`, by name; none where a server decides.

        Whoever may write to MLflow may name any folder there, and a run then writes to it as the user who runs.
        """
        if self.artifact_root is None:
            return {}
        root = self._artifact_root_uri().rstrip("/") + "/"
        with self.connection.session() as client:
            experiments = client.search_experiments(max_results=1000)
        locations = {
            experiment.name: unquote(str(experiment.artifact_location))
            for experiment in experiments
            if experiment.name != "Default"
        }
        return {
            name: location
            for name, location in locations.items()
            if not location.startswith(unquote(root)) or ".." in location.split("/")
        }

    @contextmanager
    def start_run(
        self,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        stop_errors: tuple[type[Exception], ...] = (),
    ) -> Iterator["Run"]:
        """Open a run and close it by how the block ends: FINISHED, FAILED on an error, KILLED on a stop.

        A stop is a `KeyboardInterrupt`, a `SystemExit` or one of `stop_errors`. A failure to close the run never
        hides the error that ended the block.
        """
        run = self._open_run(experiment, run_name, tags or {})
        try:
            yield run
        except Exception as error:
            self._try_close(run.id, "KILLED" if isinstance(error, stop_errors) else "FAILED")
            raise
        except BaseException:
            self._try_close(run.id, "KILLED")
            raise
        self.close_run(run.id, "FINISHED")

    @retry_while_unavailable
    def close_run(self, run_id: str, status: RunStatus) -> None:
        """End a run, for example one whose process died; an unknown run is a RegistryError."""
        with self.connection.session() as client:
            client.set_terminated(run_id, status=status)

    @retry_while_unavailable
    def read_text(self, run_id: str, name: str) -> str | None:
        """A text file kept under a run by `Run.log_text`; None when the run keeps no such file, or is gone itself."""
        try:
            with self.connection.session(missing=lambda: UnknownRunError(f"there is no run {run_id}")) as client:
                files = [item.path for item in client.list_artifacts(run_id, name.rpartition("/")[0] or None)]
                if name not in files:
                    return None
                with tempfile.TemporaryDirectory() as folder:
                    return Path(client.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8")
        except UnknownRunError:
            return None

    @retry_while_unavailable
    def read_metric_histories(self, run_id: str, part: str, most: int) -> dict[str, list[tuple[int, float]]]:
        """The metrics with `part` in their name, at most so many by name, each as (step, value) in order of its steps.

        A step that was written twice has its last value; values that are no number are left out.
        """
        with self.connection.session() as client:
            names = sorted(name for name in client.get_run(run_id).data.metrics if part in name)[:most]
            logged = {name: client.get_metric_history(run_id, name) for name in names}
        histories = {}
        for name, points in logged.items():
            by_step = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
            histories[name] = [(step, value) for step, value in sorted(by_step.items()) if abs(value) < HUGE]
        return histories

    def _try_close(self, run_id: str, status: RunStatus) -> None:
        try:
            self.close_run(run_id, status)
        except RegistryError as error:
            logging.getLogger(__name__).warning("Run %s stays open, not %s: %s", run_id, status, error)

    @retry_while_unavailable
    def _open_run(self, experiment: str, run_name: str, tags: Mapping[str, str]) -> "Run":
        experiment_id = self._experiment_id(experiment)
        with self.connection.session() as client:
            run = client.create_run(experiment_id, run_name=run_name, tags={**provenance_tags(), **tags})
        return Run(self.connection, experiment_id, run.info.run_id)

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        with self.connection.session() as client:
            existing = client.get_experiment_by_name(name)
            if existing is not None:
                return str(existing.experiment_id)
            try:
                return str(client.create_experiment(name, self._artifact_location(name), dict(EXPERIMENT_TAGS)))
            except MlflowException as error:
                other = client.get_experiment_by_name(name)
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or other is None:
                    raise
                return str(other.experiment_id)

    def _artifact_location(self, experiment: str) -> str | None:
        if self.artifact_root is None:
            return None
        return f"{self._artifact_root_uri().rstrip('/')}/{quote(experiment, safe='')}"

    def _artifact_root_uri(self) -> str:
        root = self.artifact_root or ""
        return root if urlsplit(root).scheme else Path(root).resolve().as_uri()


class Run:
    """An open run: everything logged here shows on its page in the MLflow UI."""

    def __init__(self, connection: MlflowConnection, experiment_id: str, run_id: str) -> None:
        self.id = run_id
        self.experiment_id = experiment_id
        self._connection = connection

    @retry_while_unavailable
    def log_params(self, params: Mapping[str, str | int | float | bool]) -> None:
        """Record the settings of the run; a value logged once cannot change."""
        from mlflow.entities import Param

        with self._connection.session() as client:
            client.log_batch(self.id, params=[Param(name, str(value)) for name, value in params.items()])

    @retry_while_unavailable
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at one step (an epoch), in one request."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        rows = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        with self._connection.session() as client:
            client.log_batch(self.id, metrics=rows)

    @retry_while_unavailable
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags of the run."""
        from mlflow.entities import RunTag

        with self._connection.session() as client:
            client.log_batch(self.id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_figure(self, name: str, draw: Callable[[], bytes]) -> None:
        """Keep the PNG that `draw` gives as `figures/<name>.png`; a run that keeps no figures has none drawn."""
        self._log_png(name, draw())

    @retry_while_unavailable
    def _log_png(self, name: str, png: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, self._connection.session() as client:
            file = Path(folder, f"{name}.png")
            file.write_bytes(png)
            client.log_artifact(self.id, str(file), "figures")

    @retry_while_unavailable
    def log_text(self, name: str, text: str) -> None:
        """Keep a text file under the run, for example `card.md`."""
        with self._connection.session() as client:
            client.log_text(self.id, text, name)

    def log_json(self, name: str, value: object) -> None:
        """Keep a JSON file under the run, for example `verdict.json`."""
        self.log_text(name, json.dumps(value, indent=2, sort_keys=True) + "\n")

    @retry_while_unavailable
    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Keep a table as `tables/<name>.json`, in the form that MLflow's page shows as rows and columns."""
        text = json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}, indent=1)
        self.log_text(f"tables/{name}.json", text + "\n")

    @retry_while_unavailable
    def log_dataset(self, name: str, digest: str, source: str, context: str, rows: int) -> None:
        """Record which data the run used; `context` is its role, for example train, validation, golden.

        MLflow keeps 36 characters of a digest, so it is cut; the profile holds it whole.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = json.dumps({"num_rows": rows, "digest": digest})
        source_json = json.dumps({"uri": source})
        dataset = Dataset(name, digest[:DIGEST_LENGTH], "local", source_json, profile=profile)
        tag = InputTag("mlflow.data.context", context)
        with self._connection.session() as client:
            client.log_inputs(self.id, datasets=[DatasetInput(dataset, [tag])])

    @retry_while_unavailable
    def log_model(
        self,
        files: ModelFiles,
        requirements: Sequence[str],
        contract: ModelContract,
        name: str = "model",
    ) -> str:
        """Keep a model as pickle-free graphs (see `save_package`); returns its `models:/<id>` URI."""
        from mlflow.entities import LoggedModelOutput

        with self._connection.session() as client, tempfile.TemporaryDirectory() as temporary:
            logged = client.create_logged_model(self.experiment_id, name, source_run_id=self.id)
            folder = Path(temporary, "model")
            try:
                save_package(folder, files, requirements, contract, logged)
                client.log_model_artifacts(logged.model_id, str(folder))
            except BaseException:
                client.finalize_logged_model(logged.model_id, "FAILED")
                raise
            client.set_logged_model_tags(logged.model_id, digest_tags(folder))
            client.finalize_logged_model(logged.model_id, "READY")
            client.log_outputs(self.id, [LoggedModelOutput(logged.model_id, step=0)])
        return f"models:/{logged.model_id}"


def git_revision(folder: Path) -> str | None:
    """The commit checked out in `folder`, with `-dirty` when files differ; None outside a git checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def provenance_tags(trigger: str = MANUAL_TRIGGER, revision: str | None = None) -> dict[str, str]:
    """The tags every run carries: what caused it, which code, which interpreter and libraries."""
    tags = {
        TRIGGER_TAG: trigger,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "mlplatform",
        "mlplatform.python": platform.python_version(),
        "mlplatform.platform": platform.platform(),
        "mlplatform.torch": installed_version("torch"),
        "mlplatform.mlflow": installed_version("mlflow"),
    }
    return tags | ({COMMIT_TAG: revision} if revision else {})
