import json
from dataclasses import replace
from typing import Any

import pytest

from monitors.alerts import NoticeKind
from monitors.notices.notice import Notice, Subject
from monitors.notices.slack import slack_payload, without_images
from monitors.notices.trend import trend_of
from tests.support.notice_examples import CLASSES, THE_RULE, fired, group, notice, thumbnail


def blocks(given: Notice, kind: str) -> list[dict[str, Any]]:
    """The blocks of one type."""
    return [block for block in slack_payload(given)["blocks"] if block["type"] == kind]


def keeps_to_the_limits(payload: dict[str, Any]) -> None:
    """Fail on anything that Slack would refuse."""
    assert 1 <= len(payload["blocks"]) <= 50
    for block in payload["blocks"]:
        match block["type"]:
            case "header":
                assert 1 <= len(block["text"]["text"]) <= 150
            case "section":
                assert len(block.get("fields", ())) <= 10
                assert all(1 <= len(field["text"]) <= 2000 for field in block.get("fields", ()))
                assert 1 <= len(block.get("text", {"text": "x"})["text"]) <= 3000
            case "context":
                assert 1 <= len(block["elements"]) <= 10
                assert all(element.get("alt_text", "x") for element in block["elements"])
            case "actions":
                assert 1 <= len(block["elements"]) <= 25
                assert len({element["action_id"] for element in block["elements"]}) == len(block["elements"])
                assert all(len(element["text"]["text"]) <= 75 for element in block["elements"])
                assert all(len(element["url"]) <= 3000 for element in block["elements"])
    json.dumps(payload, allow_nan=False)


@pytest.mark.parametrize("kind", ["firing", "repeat", "resolved"])
@pytest.mark.parametrize("pictures", [0, 6, 9])
def test_every_notice_keeps_to_the_limits_of_block_kit(kind: NoticeKind, pictures: int) -> None:
    keeps_to_the_limits(slack_payload(notice(kind, "long " * 2000, pictures=pictures)))
    keeps_to_the_limits(slack_payload(group("0123456789", kind)))


def test_very_many_classes_with_very_long_names_keep_to_the_limits() -> None:
    many = tuple(Subject(fired(CLASSES, f"a{n}", f"{n}-" + "x" * 3000), "Bad & worse. " * 500) for n in range(300))
    keeps_to_the_limits(slack_payload(replace(group("3"), subjects=many, top_confusions=("a read as b",) * 300)))


def test_slack_shows_value_interval_baseline_threshold_and_sentence() -> None:
    header, instruction, sentence, fields, *_ = slack_payload(notice())["blocks"]
    assert instruction["text"]["text"].startswith("*Nothing to do now: a retraining is asked for")
    assert header["text"]["text"] == "🔴 firing: a-rule · digits v3"
    assert sentence["text"]["text"] == "Accuracy fell."
    assert [field["text"] for field in fields["fields"]][:5] == [
        "*Value*\n8.0 points",
        "*Interval (99 % each side)*\n4.0 points to 12.0 points",
        "*Baseline*\n99.0 %",
        "*Allowed*\n0.5 points",
        "*Samples*\n200",
    ]


def test_a_trend_is_a_line_of_blocks_since_a_webhook_brings_no_picture() -> None:
    given = replace(notice(), trend=trend_of(THE_RULE, [0.0, 0.01, 0.08], ""))
    shown = slack_payload(given)["blocks"][3]["text"]["text"]
    assert shown == "`▁▂█`\naccuracy_drop, 3 evaluations: 0.0 points to 8.0 points; allowed 0.5 points"
    keeps_to_the_limits(slack_payload(given))


def test_links_are_buttons() -> None:
    [actions] = blocks(notice(), "actions")
    assert [(each["text"]["text"], each["url"]) for each in actions["elements"]] == [
        ("Report", "https://host/e/1?a=1&b=2"),
        ("Model", "https://mlflow/m/1"),
        ("Runbook", "https://wiki.example/accuracy"),
    ]


def test_without_links_there_are_no_buttons() -> None:
    assert blocks(replace(group(), links={}), "actions") == []
    assert blocks(replace(group(), links={"Far": "https://host/" + "x" * 3000}), "actions") == []


def test_the_worst_errors_are_pictures_with_words_for_those_who_cannot_see_them() -> None:
    pictures, footer = blocks(notice(pictures=2), "context")
    *images, captions = pictures["elements"]
    assert [image["image_url"] for image in images] == ["https://host/i/0", "https://host/i/1"]
    assert {image["alt_text"] for image in images} == {"3 read as 5, 98 %"}
    assert captions["text"] == "Worst errors: 3 read as 5, 98 % · 3 read as 5, 98 %"
    assert footer["elements"][0]["text"] == "`a1-firing-1` Repeats every 4h until somebody acknowledges it."


def test_a_picture_without_an_address_is_left_out() -> None:
    given = replace(notice(), thumbnails=(thumbnail(1, url=""), thumbnail(2)))
    pictures, _ = blocks(given, "context")
    assert [element["type"] for element in pictures["elements"]] == ["image", "mrkdwn"]
    assert len(blocks(replace(given, thumbnails=(thumbnail(1, url=""),)), "context")) == 1


def test_a_message_slack_could_not_take_is_the_same_without_its_pictures() -> None:
    body = slack_payload(notice(pictures=3))
    assert without_images(body) == slack_payload(replace(notice(), top_confusions=notice(pictures=3).top_confusions))
    assert without_images(slack_payload(notice())) == slack_payload(notice())


def test_slack_control_characters_are_escaped_and_long_texts_cut() -> None:
    payload = slack_payload(notice(sentence="<!channel> & more " + "x" * 5000))
    text = payload["blocks"][2]["text"]["text"]
    assert text.startswith("&lt;!channel&gt; &amp; more")
    assert (len(text), text[-1]) == (3000, "…")
    assert "<!channel>" not in payload["text"]


def test_a_cut_never_splits_an_escaped_character() -> None:
    for spare in range(6):
        text = slack_payload(notice(sentence="x" * (2990 + spare) + "&&&&"))["blocks"][2]["text"]["text"]
        assert text.replace("&amp;", "").strip("x…") == ""


def crowd(alerts: int, sentence: str, key: str = "c") -> Notice:
    """A notice about so many alerts, each with a sentence."""
    many = tuple(Subject(fired(CLASSES, f"a{n}", f"{key}{n}"), f"Class {n}: {sentence}") for n in range(alerts))
    return replace(group("3"), subjects=many)


@pytest.mark.parametrize("alerts", [2, 19, 20, 21, 26, 300])
@pytest.mark.parametrize("length", [1, 40, 140, 149, 400, 2990, 3100])
def test_how_many_alerts_are_left_out_is_never_cut_away(alerts: int, length: int) -> None:
    payload = slack_payload(crowd(alerts, "x" * length))
    keeps_to_the_limits(payload)
    for text in (payload["blocks"][2]["text"]["text"], payload["text"].partition("\n")[2]):
        lines = text.split("\n")
        shown = sum(line.startswith("Class ") for line in lines)
        left_out = alerts - shown
        said = f"And {left_out} alert{'s' if left_out > 1 else ''} more."
        assert (lines[-1] == said) if left_out else (len(lines) == alerts)
        assert len(text) <= 3000


@pytest.mark.parametrize("key", ["c", "a-scanner-with-a-long-name-", "&<>" * 30])
def test_a_header_names_some_and_counts_the_others_within_its_limit(key: str) -> None:
    header = slack_payload(crowd(26, "bad", key))["blocks"][0]["text"]["text"]
    named = header.partition("(classes ")[2].partition(" and ")[0].count(", ") + 1
    assert f" and {26 - named} more) · digits v3" in header
    assert len(header) <= 150


@pytest.mark.parametrize("mark", ["\x00", "\x1b[31m", "\u202e", "\u2066", "\x85", "\u2028", "\r\n", "\ud800"])
def test_characters_that_nobody_sees_reach_nobody(mark: str) -> None:
    given = crowd(2, f"<!channel> <@U1> {mark} & {mark}", f"k{mark}")
    text = json.dumps(slack_payload(given), ensure_ascii=False)
    assert mark not in text
    assert json.dumps(mark)[1:-1] not in json.dumps(slack_payload(given))
    assert "<!channel>" not in text
    assert "<@U1>" not in text
