"""A model that others logged is opened once in a process of its own, judged on golden rows, and registered."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import select

from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, ProcessError, SettingsError
from mlplatform.operations.model_adoption import AdoptionRequest, adopt_model, adoption_name
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.tables.audit import audit_log
from pipelines.errors import DataError
from pipelines.table.table_data import RowRoles
from registry.catalog import TRAINED_UNTIL_TAG
from registry.model_contract import TableInputs
from tests.support.fake_registry import FakeTracking, MemoryCatalog
from tests.support.platform_world import FakeClock
from tests.support.stored_models import customer_frame, fitted_pipeline, write_mlflow_model

ROLES = RowRoles("churned", "day", "customer")


class LeavesMark:
    """A pickle whose opening leaves a file where it was opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('opened').write_text('here') and None",)


@pytest.fixture
def adopting(tmp_path: Path, sqlite_template: Path) -> Iterator[AppContext]:
    shutil.copy(sqlite_template, tmp_path / "platform.db")
    settings, tracking = Settings(_env_file=None, home=tmp_path / "home"), FakeTracking()
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    yield AppContext(settings, FakeClock(), database=database, tracking=tracking, catalog=MemoryCatalog(tracking))
    database.close()


@pytest.fixture
def request_of(tmp_path: Path) -> AdoptionRequest:
    """The adoption of a pipeline of scikit-learn that was stored with skops."""
    source = write_mlflow_model(tmp_path / "model", fitted_pipeline(customer_frame(seed=1)))
    customer_frame().to_parquet(tmp_path / "golden.parquet")
    return AdoptionRequest(str(source), "churn", tmp_path / "golden.parquet", ROLES)


def test_it_becomes_champion_with_contract_card_and_digest(adopting: AppContext, request_of: AdoptionRequest) -> None:
    until = datetime(2025, 12, 31, 23, tzinfo=UTC)
    asked = replace(request_of, about="Who leaves.", trained_until=until, costs={("yes", "no"): 5.0})
    adoption = adopt_model(adopting, asked, "ada")
    outcome = adoption.outcome
    assert outcome.promotion is not None
    assert outcome.promotion.to_version == 1
    assert adoption.result.different_answers == 0
    assert adoption.result.rows == 400
    version = adopting.catalog.version("churn", 1)
    assert version.tags["adopted_from"] == asked.source
    assert version.tags[TRAINED_UNTIL_TAG] == f"{until.timestamp():.3f}"
    assert int(version.tags["golden_total"]) == outcome.candidate.scores.n < 400
    contract = adopting.catalog.contract("churn", 1)
    assert isinstance(contract.inputs, TableInputs)
    assert [(column.name, column.kind) for column in contract.inputs.columns] == [
        ("age", "whole"), ("income", "number"), ("plan", "category"),
    ]  # fmt: skip
    assert contract.classes == ("no", "yes")
    assert contract.block_seconds == 86_400
    assert "adopted from" in version.description
    assert "Who leaves" in version.description
    assert "at most" in adoption.sentences[1]
    assert "400 of 400 rows" in adoption.sentences[1]
    with adopting.database.read() as connection:
        entries = connection.execute(select(audit_log.c.actor, audit_log.c.details).where(
            audit_log.c.action == "adopt-model")).all()  # fmt: skip
    noted = [(entry.actor, entry.details["format"], entry.details["version"]) for entry in entries]
    assert noted == [("ada", "skops", 1)]
    assert list((adopting.settings.home / "adopting").iterdir()) == [], "model and rows are kept nowhere"


def test_the_next_one_is_compared_with_the_champion_on_the_same_rows(
    adopting: AppContext, request_of: AdoptionRequest
) -> None:
    adopt_model(adopting, request_of, "ada")
    again = adopt_model(adopting, request_of, "ada").outcome
    assert again.promotion is None
    assert again.candidate.version == 2
    assert again.candidate.verdict.outcome == "inconclusive", "320 rows prove nothing of two equal models"


def test_a_pickle_needs_consent_and_never_runs_here(
    adopting: AppContext, request_of: AdoptionRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = replace(request_of, source=str(write_mlflow_model(tmp_path / "hostile", LeavesMark(), "pickle")))
    with pytest.raises(SettingsError, match=r"runs whatever code is in it.*--run-its-code"):
        adopt_model(adopting, hostile, "ada")
    with pytest.raises(DataError, match="which is no model"):
        adopt_model(adopting, replace(hostile, run_its_code=True), "ada")
    assert not (tmp_path / "opened").exists()
    assert adopting.catalog.versions("churn") == ()


def test_a_pickle_is_adopted_with_consent(adopting: AppContext, request_of: AdoptionRequest, tmp_path: Path) -> None:
    source = write_mlflow_model(tmp_path / "pickled", fitted_pipeline(customer_frame(seed=1)), "pickle")
    adoption = adopt_model(adopting, replace(request_of, source=str(source), run_its_code=True), "ada")
    assert adoption.outcome.promotion is not None
    assert "a pickle, whose code ran" in adopting.catalog.version("churn", 1).description


def test_nothing_is_registered_where_rows_do_not_fit(
    adopting: AppContext, request_of: AdoptionRequest, tmp_path: Path
) -> None:
    frame = customer_frame()
    cases: dict[str, tuple[pd.DataFrame, AdoptionRequest]] = {
        "no column 'plan', which the model reads": (frame.drop(columns="plan"), request_of),
        "no column 'left'": (frame, replace(request_of, roles=RowRoles("left"))),
        "has 99 rows; at least 100": (frame.head(99), request_of),
        "the class 'maybe', and the model answers no, yes": (
            frame.assign(churned=["maybe", *frame["churned"][1:]]),
            request_of,
        ),
        "--classes names a, b": (frame, replace(request_of, classes=("a", "b"))),
        "among the columns that the model reads": (frame, replace(request_of, roles=RowRoles("age"))),
    }
    for reason, (rows, asked) in cases.items():
        rows.to_parquet(tmp_path / "golden.parquet")
        with pytest.raises(DataError, match=reason):
            adopt_model(adopting, asked, "ada")
    assert adopting.catalog.versions("churn") == ()


def test_a_process_that_fails_is_told_with_what_to_do(
    adopting: AppContext, request_of: AdoptionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlplatform.operations.model_adoption.EXPORT_FUNCTION", "tests.support.isolated_functions:fail")
    with pytest.raises(ProcessError, match=r"failed: it ended with code 1.*not today.*PLATFORM_TRAINING_MEMORY_MB"):
        adopt_model(adopting, request_of, "ada")


def test_a_training_that_fails_notes_no_adoption(
    adopting: AppContext, request_of: AdoptionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("not today")

    monkeypatch.setattr("mlplatform.retraining.worker.TrainingWorker.train", fail)
    with pytest.raises(DataError, match="not today"):
        adopt_model(adopting, request_of, "ada")
    with adopting.database.read() as connection:
        assert connection.execute(select(audit_log.c.action)).all() == []


def test_versions_of_others_keep_their_name_to_themselves(adopting: AppContext, request_of: AdoptionRequest) -> None:
    adopting.catalog.register("churn", "models:/m-1", "run", {}, "somebody's own")
    with pytest.raises(
        ConflictError, match=r"'churn' has versions that this platform did not make.*--name churn-served"
    ):
        adopt_model(adopting, request_of, "ada")


@pytest.mark.parametrize(
    ("source", "name", "model", "expected"),
    [
        ("models:/churn/12", None, "", "churn-served"),
        ("models:/churn model@live", None, "", "churn-model-served"),
        ("models:/churn/12", None, "leavers", "leavers"),
        ("runs:/1/model", "own", "leavers", "own"),
    ],
)
def test_its_name(adopting: AppContext, source: str, name: str | None, model: str, expected: str) -> None:
    context = adopting.replace(settings=adopting.settings.model_copy(update={"model": model}))
    assert adoption_name(context, source, name) == expected
    with pytest.raises(SettingsError, match="give --name, or PLATFORM_MODEL"):
        adoption_name(adopting, "runs:/1/model", None)


def test_a_name_is_no_longer_than_the_database_holds(adopting: AppContext) -> None:
    assert adoption_name(adopting, "models:/churn/1", "a" * 64) == "a" * 64
    with pytest.raises(SettingsError, match=r"has 67 letters, and 64 are the most; give a shorter one with --name"):
        adoption_name(adopting, f"models:/{'a' * 60}/1", None)
