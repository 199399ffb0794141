"""`platform open`, shell completion, and progress that programs never see."""

import sys

import pytest
from typer.testing import CliRunner

from mlplatform.cli import app
from mlplatform.cli.browser import open_in_browser
from mlplatform.cli.output import ProgressBar
from mlplatform.errors import InvalidInputError
from mlplatform.operations.page_address import page_address
from mlplatform.settings import Settings
from tests.support.command_line import Command


@pytest.mark.parametrize(
    ("settings", "page", "address"),
    [
        ({}, "", "http://127.0.0.1:8000/"),
        ({"host": "0.0.0.0", "port": 81}, "alerts", "http://127.0.0.1:81/alerts"),
        ({"host": "::"}, "versions/8", "http://[::1]:8000/versions/8"),
        ({"root_path": "/ml"}, "/review/", "http://127.0.0.1:8000/ml/review"),
        ({"public_url": "https://ml.example.org/x/"}, "alerts/a b", "https://ml.example.org/x/alerts/a%20b"),
    ],
)
def test_a_page_has_the_address_that_people_reach(settings: dict[str, object], page: str, address: str) -> None:
    assert page_address(Settings(_env_file=None, **settings), page) == address  # type: ignore[arg-type]


def test_what_is_no_page_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidInputError, match="there are: account, alerts, audit, docs"):
        page_address(Settings(_env_file=None), "alert")


def test_without_a_browser_the_address_is_printed(platform: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform.startswith("linux"):
        assert platform("open", "rules").out == "http://127.0.0.1:8000/rules\n"
        assert platform("open", "--json").json == {"address": "http://127.0.0.1:8000/", "opened": False}
    assert platform("open", "nothing").code == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a browser is found otherwise there")
def test_a_browser_that_is_there_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "true")
    assert open_in_browser("http://127.0.0.1:8000/")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(app, ["--show-completion", shell], prog_name="platform")
    assert shown.exit_code == 0
    assert "_PLATFORM_COMPLETE" in shown.stdout


def test_commands_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PLATFORM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "platform models pro")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert CliRunner().invoke(app, [], prog_name="platform").stdout.split() == ["promote"]


def test_progress_is_for_terminals_alone(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with ProgressBar("working", quiet=quiet) as bar:
            bar.update(1, 2, "half")
    assert capfd.readouterr() == ("", "")
