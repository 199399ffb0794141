"""How the demo is told."""

import pytest

from mlplatform.demo.presenter import ACCURACY_ROWS, Presenter


def play(quiet: bool) -> Presenter:
    """One act with everything in it, and the end."""
    stage = Presenter(quiet)
    with stage.act("1", "train"), stage.progress_bar("training") as bar:
        bar(1, 2, "[half] done")
        stage.print_line("see [/rules[0]]")
        stage.print_notice("Slack", "accuracy fell [/b]", "4 blocks")
    figures = {
        "accuracy": {key: 0.5 for _, key in ACCURACY_ROWS},
        "seconds": stage.seconds,
        "requests": 10,
        "failed": 0,
    }
    stage.print_accuracy(figures)
    stage.print_addresses({"API docs": "http://127.0.0.1:1/docs"})
    return stage


def test_the_story_is_printed_with_texts_taken_literally(capsys: pytest.CaptureFixture[str]) -> None:
    play(quiet=False)
    out = capsys.readouterr().out
    for part in ("1 · train", "see [/rules[0]]", "accuracy fell [/b]", "4 blocks", "50.0%", "10 requests, 0 failed"):
        assert part in out
    assert "API docs: http://127.0.0.1:1/docs" in out


def test_a_quiet_stage_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(quiet=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_seconds_of_each_act_and_of_all_are_kept() -> None:
    stage = play(quiet=True)
    assert stage.seconds.keys() == {"act 1", "total"}
    assert 0 <= stage.seconds["act 1"] <= stage.seconds["total"] + 0.1


def test_an_act_that_fails_is_not_counted() -> None:
    stage = Presenter(quiet=True)

    def fails() -> None:
        with stage.act("1", "train"):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fails()
    assert stage.seconds == {}
