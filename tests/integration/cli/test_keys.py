"""`platform keys`: made once, listed without secrets, revoked."""

import json

import pytest
from typer.testing import CliRunner

from mlplatform.auth.api_key import parse
from mlplatform.cli import app
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError

run = CliRunner()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path_factory.mktemp("home")))


def test_a_key_is_shown_once_and_then_known_by_its_id_only() -> None:
    made = run.invoke(app, ["keys", "create", "ada", "--scope", "feedback", "--scope", "predict", "--expires", "90d"])
    text = made.stdout.split("\n")[0]
    shown = parse(text)
    assert shown is not None
    listed = run.invoke(app, ["keys", "list", "--json"]).stdout
    [row] = json.loads(listed)
    assert (row["id"], row["name"], row["scopes"], row["state"]) == (shown.id, "ada", "predict, feedback", "works")
    assert text.split("_")[2] not in listed
    assert shown.digest not in listed
    assert "ada" in run.invoke(app, ["keys", "list"]).stdout


def test_a_key_may_be_limited_to_models() -> None:
    words = ["--scope", "predict:digits", "--scope", "audit:churn", "--scope", "predict:churn"]
    made = run.invoke(app, ["keys", "create", "ada", *words, "--json"])
    assert json.loads(made.stdout)["scopes"] == ["predict:churn", "predict:digits", "audit:churn"]
    [row] = json.loads(run.invoke(app, ["keys", "list", "--json"]).stdout)
    assert row["scopes"] == "predict:churn, predict:digits, audit:churn"


def test_a_revoked_key_is_listed_as_such_and_revoked_once() -> None:
    key = json.loads(run.invoke(app, ["keys", "create", "ada", "--scope", "admin", "--json"]).stdout)
    assert json.loads(run.invoke(app, ["keys", "revoke", key["id"], "--json"]).stdout)["state"] == "revoked"
    assert json.loads(run.invoke(app, ["keys", "list", "--json"]).stdout)[0]["state"] == "revoked"
    assert isinstance(run.invoke(app, ["keys", "revoke", key["id"]]).exception, ConflictError)
    assert isinstance(run.invoke(app, ["keys", "revoke", "nobody"]).exception, NotFoundError)


@pytest.mark.parametrize(
    "words",
    [
        ["ada", "--scope", "write"],
        ["ada", "--scope", "predict:"],
        ["ada", "--scope", "predict:di gits"],
        ["ada", "--scope", "write:digits"],
        [" ", "--scope", "audit"],
        ["a" * 101, "--scope", "audit"],
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(words: list[str]) -> None:
    assert isinstance(run.invoke(app, ["keys", "create", *words]).exception, InvalidInputError)
    assert json.loads(run.invoke(app, ["keys", "list", "--json"]).stdout) == []
