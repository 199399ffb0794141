"""How answers are printed."""

import json
from datetime import UTC, datetime

import pytest

from mlplatform.cli.output import print_table
from mlplatform.host.console import echo, print_json


def test_json_is_one_value_with_times_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": datetime(2026, 1, 1, tzinfo=UTC), "n": 1})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-01-01 00:00:00+00:00", "n": 1}


def test_a_sentence_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    echo({"n": 1}, "see [/rules[0]] and [bold]this", as_json=False)
    assert capsys.readouterr().out == "see [/rules[0]] and [bold]this\n"


def test_as_json_the_sentence_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    echo({"n": 1}, "a sentence", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"n": 1}


def test_a_table_shows_the_chosen_columns_and_takes_no_cell_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "last_error": "HTTP 500: [/b] [red]no", "hidden": "x"},
        {"id": "b", "last_error": None},
    ]
    print_table("notices", rows, ("id", "last_error"), "none")
    out = capsys.readouterr().out
    assert "[/b] [red]no" in out
    assert "last error" in out
    assert "None" not in out
    assert "hidden" not in out


def test_a_table_without_rows_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("alerts", [], ("id",), "none")
    assert capsys.readouterr().out == "alerts: none\n"


def test_rows_that_fit_no_columns_are_paragraphs_that_keep_every_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = " ".join(f"word{number}" for number in range(40))
    row = {
        "id": "01a228db-3803",
        "rule": "accuracy-drop",
        "key": "",
        "state": "acknowledged",
        "since": "2026-11-29T19:51:07",
    }
    columns = ("id", "rule", "key", "state", "since", "sentence")
    monkeypatch.setenv("COLUMNS", "80")
    print_table("alerts", [row | {"sentence": sentence}], columns, "none")
    out = capsys.readouterr().out
    assert out.startswith("alerts\n  id: 01a228db-3803\n    rule: accuracy-drop\n    state: acknowledged\n")
    assert f"sentence: {sentence}" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_with_room_the_same_rows_are_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    print_table(
        "versions",
        [{"version": "2", "aliases": ["champion", "old"], "tags": {"gate": "keep", "by": None}}],
        ("version", "aliases", "tags"),
        "none",
    )
    out = capsys.readouterr().out
    assert "│ 2       │ champion, old │ gate keep │" in out
