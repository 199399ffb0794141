"""Settings: where values come from, and what a wrong one is told."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from mlplatform.errors import SettingsError
from mlplatform.operations.scaffold import render_env_example
from mlplatform.scopes import parse_group_scopes
from mlplatform.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PLATFORM_{name.upper()}", raising=False)


def test_the_defaults_work_as_they_are() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.pipeline) == ("127.0.0.1", 8000, "digits")


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, info in Settings.model_fields.items() if not info.description] == []


def test_a_flag_beats_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PLATFORM_PORT=1\nPLATFORM_SEED=1\nPLATFORM_PIPELINE=letters\nOTHER=1\n")
    monkeypatch.setenv("PLATFORM_PORT", "2")
    monkeypatch.setenv("PLATFORM_SEED", "2")
    settings = load_settings(port=3, seed=None)
    assert (settings.port, settings.seed, settings.pipeline) == (3, 2, "letters")


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"PLATFORM_{name.upper()}", "")
    assert load_settings() == Settings(_env_file=None)
    assert load_settings().data_dir is None


def test_a_receiver_that_cannot_be_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_ALLOWED_RECEIVERS", '["10.0.0.1/8"]')
    with pytest.raises(SettingsError, match=r"PLATFORM_ALLOWED_RECEIVERS.*neither a network"):
        load_settings()


def test_the_example_file_uncommented_is_the_defaults() -> None:
    defaults = load_settings()
    lines = [line.removeprefix("# ") for line in render_env_example().splitlines() if line.startswith("# PLATFORM_")]
    assert len(lines) >= len(Settings.model_fields)
    Path(".env").write_text("\n".join(lines))
    assert load_settings() == defaults


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PLATFORM_PORT", "eighty", "valid integer"),
        ("PLATFORM_PORT", "65536", "less than or equal to 65535"),
        ("PLATFORM_TRAINING_MEMORY_MB", "100", "the libraries alone need 512 MiB"),
        ("PLATFORM_POLL_SECONDS", "0", "greater than 0"),
        ("PLATFORM_POLL_SECONDS", "inf", "finite number"),
        ("PLATFORM_LEASE_SECONDS", "nan", "finite number"),
        ("PLATFORM_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("PLATFORM_MLFLOW_ALLOWED_HOSTS", "mlflow", "give a JSON list"),
        ("PLATFORM_MLFLOW_ALLOWED_HOSTS", '{"a": 1}', "valid tuple"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"{variable}=" in str(caught.value)
    assert told in str(caught.value)
    assert "platform init" in str(caught.value)


def test_every_wrong_value_is_told_at_once_and_no_other_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_PORT", "x")
    monkeypatch.setenv("PLATFORM_SEED", "-1")
    monkeypatch.setenv("PLATFORM_DATABASE_URL", "postgresql+psycopg://me:secret@host/db")
    with pytest.raises(SettingsError, match=r"PLATFORM_PORT='x'.*PLATFORM_SEED='-1'") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_a_list_is_read_from_json_and_a_level_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_MLFLOW_ALLOWED_HOSTS", '["mlflow", "mlflow:5000"]')
    monkeypatch.setenv("PLATFORM_LOG_LEVEL", "WARNING")
    settings = load_settings()
    assert (settings.mlflow_allowed_hosts, settings.log_level) == (("mlflow", "mlflow:5000"), "warning")
    assert load_settings(mlflow_allowed_hosts=("a",)).mlflow_allowed_hosts == ("a",)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_without_addresses_everything_is_kept_in_the_home_folder_wherever_the_process_goes(tmp_path: Path) -> None:
    settings = load_settings(home=Path("data"))
    assert settings.store_url == f"sqlite:///{tmp_path}/data/platform.db"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/data/mlflow.db"
    assert settings.artifact_root == f"file://{tmp_path}/data/artifacts"


def test_given_addresses_are_used_and_the_server_then_chooses_its_folder() -> None:
    settings = load_settings(database_url="postgresql+psycopg://me@host/db", mlflow_uri="http://mlflow:5000")
    assert settings.store_url == "postgresql+psycopg://me@host/db"
    assert (settings.tracking_uri, settings.artifact_root) == ("http://mlflow:5000", None)


def test_a_heartbeat_slower_than_its_limit_is_refused_before_it_closes_living_retrainings() -> None:
    with pytest.raises(SettingsError, match="at least three times heartbeat_seconds"):
        load_settings(heartbeat_seconds=20.0, abandoned_seconds=30.0)


def test_a_commit_that_is_waited_for_cannot_be_dropped() -> None:
    with pytest.raises(SettingsError, match="drop-oldest forgets"):
        load_settings(recording="sync", spool_full="drop-oldest")


SIGN_IN = {
    "oidc_issuer": "https://id.example.org",
    "oidc_client_id": "mlplatform",
    "oidc_client_secret": "s3cret",
    "oidc_groups": "ml-team=audit,review;cn=ops,ou=groups=operate:digits",
    "public_url": "https://ml.example.org",
}


def test_a_server_where_people_sign_in_asks_who_calls() -> None:
    assert not load_settings().requires_keys
    made = load_settings(**SIGN_IN)
    assert made.requires_keys
    assert made.read_client_secret() == "s3cret"
    assert "s3cret" not in repr(made)
    assert "s3cret" not in made.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"oidc_client_id": ""}, "needs PLATFORM_OIDC_CLIENT_ID as well"),
        ({"oidc_groups": ""}, "needs PLATFORM_OIDC_GROUPS as well"),
        ({"public_url": ""}, "needs PLATFORM_PUBLIC_URL"),
        ({"public_url": "ml.example.org"}, "needs PLATFORM_PUBLIC_URL"),
        ({"auth": "off"}, "PLATFORM_AUTH=off asks nobody"),
        ({"oidc_issuer": "http://id.example.org"}, "PLATFORM_OIDC_ISSUER='http://id.example.org'"),
        ({"oidc_issuer": "id.example.org"}, "is not the https address of a provider"),
        ({"oidc_issuer": "https://[x"}, "PLATFORM_OIDC_ISSUER"),
        ({"oidc_groups": "ml-team=write"}, "scope 'write' is not known"),
        ({"oidc_groups": "ml-team"}, "'ml-team' is no group with its scopes"),
        ({"oidc_groups": "=audit"}, "'=audit' is no group with its scopes"),
        ({"oidc_groups": "a=audit;a=review"}, "group 'a' stands twice"),
        ({"oidc_groups": "a=audit,"}, "scope '' is not known"),
        ({"oidc_scope": "email"}, "must name openid"),
        ({"oidc_session_hours": 0}, "PLATFORM_OIDC_SESSION_HOURS=0"),
        ({"oidc_client_secret_file": "secret"}, "not both"),
    ],
    ids=str,
)
def test_a_sign_in_that_cannot_work_is_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        load_settings(**{**SIGN_IN, **changes})
    assert "s3cret" not in str(caught.value)


def test_the_secret_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    made = load_settings(**{**SIGN_IN, "oidc_client_secret": None, "oidc_client_secret_file": path})
    with pytest.raises(SettingsError, match=r"SECRET_FILE=.* cannot be read"):
        made.read_client_secret()
    path.write_text("\n")
    with pytest.raises(SettingsError, match="is empty; write the secret into it"):
        made.read_client_secret()
    path.write_text("from a file\n")
    assert made.read_client_secret() == "from a file"


def test_scopes_of_groups_are_read_with_the_names_of_directories() -> None:
    assert parse_group_scopes(str(SIGN_IN["oidc_groups"])) == {
        "ml-team": ("audit", "review"),
        "cn=ops,ou=groups": ("operate:digits",),
    }
