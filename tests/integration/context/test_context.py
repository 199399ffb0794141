"""The workshop: context made once, when asked for; the environment over the file."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.context import AppContext, ContextParts, create_context, load_environment
from mlplatform.operations.scaffold import rules_template
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.retraining.training_pipeline import training_pipeline
from mlplatform.settings import Settings
from monitors.errors import RulesError
from pipelines.errors import UnknownPipelineError
from registry.mlflow_server import quiet_environment
from tests.support.platform_world import FakeClock


@pytest.fixture
def made(settings: Settings, clock: FakeClock) -> Iterator[AppContext]:
    """Parts on the embedded defaults."""
    context = AppContext(settings, clock)
    yield context
    if "database" in vars(context):
        context.database.close()


def test_nothing_is_built_or_written_before_it_is_asked_for(made: AppContext) -> None:
    assert vars(made).keys().isdisjoint(ContextParts.__annotations__)
    assert not made.settings.home.exists()


def test_the_database_comes_with_its_tables_in_the_home_folder(made: AppContext) -> None:
    current, newest = made.database.revision()
    assert (current, current is None) == (newest, False)
    assert (made.settings.home / "platform.db").is_file()


def test_a_part_is_built_once_and_shared(made: AppContext) -> None:
    assert made.database is made.database
    champions = promotion_service(made)
    assert (champions.database, champions.catalog, champions.holder) == (made.database, made.catalog, made.instance)
    assert made.model_cache == made.settings.home / "models"
    assert made.model_name == "digits"


def test_each_process_has_a_name_of_its_own_that_it_keeps(made: AppContext, settings: Settings) -> None:
    assert made.instance == made.instance
    assert f":{os.getpid()}:" in made.instance
    assert AppContext(settings).instance != made.instance


def test_tracking_follows_the_settings(tmp_path: Path) -> None:
    embedded = AppContext(Settings(_env_file=None, home=tmp_path)).tracking
    assert (embedded.uri, embedded.artifact_root) == (f"sqlite:///{tmp_path}/mlflow.db", f"file://{tmp_path}/artifacts")
    remote = AppContext(Settings(_env_file=None, mlflow_uri="http://mlflow:5000")).tracking
    assert (remote.uri, remote.artifact_root) == ("http://mlflow:5000", None)


def test_rules_take_their_secrets_from_the_environment(
    made: AppContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLATFORM_SLACK_WEBHOOK_URL", "https://hooks.example.com/services/x")
    made.settings.alerts_file.write_text(rules_template())
    assert made.rules.model == "digits"
    assert [name for name, channel in made.rules.channels.items() if channel.is_configured] == ["team-slack"]


def test_missing_rules_and_an_unknown_pipeline_are_typed_errors(made: AppContext) -> None:
    with pytest.raises(RulesError, match="cannot be read"):
        _ = made.rules
    with pytest.raises(UnknownPipelineError, match="known: arabic, characters, digits"):
        training_pipeline(made.settings.model_copy(update={"pipeline": "nosuch"}))


def test_the_environment_lies_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_environment() == dict(os.environ)
    Path(".env").write_text("PLATFORM_A=file\nPLATFORM_B=file\nPLATFORM_C\n")
    monkeypatch.setenv("PLATFORM_A", "process")
    values = load_environment()
    assert (values["PLATFORM_A"], values["PLATFORM_B"]) == ("process", "file")
    assert "PLATFORM_C" not in values


def test_building_a_process_quiets_libraries_and_keeps_what_a_person_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in quiet_environment():
        monkeypatch.setenv(key, "mine")
        monkeypatch.delenv(key)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    context = create_context(settings)
    assert context.settings is settings
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert not logging.getLogger("alembic").isEnabledFor(logging.INFO)
