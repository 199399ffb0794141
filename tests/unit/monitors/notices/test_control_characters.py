"""What steers a terminal or turns a text is written out; everything else stays as it is."""

import unicodedata

import pytest

from mlplatform.host.control_characters import (
    escape_controls,
    escape_lines,
    escape_parts,
    indent_further_lines,
    texts_with_controls,
)


@pytest.mark.parametrize(
    "text", ["", "a sentence", "déjà vu — 日本 ٣ 🕳️ no-break\u00a0space", r"\x1b", "[red]<b>{}", "a\u3000b"]
)
def test_what_people_read_stays(text: str) -> None:
    assert escape_controls(text) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("\u202eabc\u2066\u2069", r"\u202eabc\u2066\u2069"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("a\u200bb\ufeff\u061c", r"a\u200bb\ufeff\u061c"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_steers_is_written_out(text: str, written: str) -> None:
    assert escape_controls(text) == written
    assert escape_controls(written) == written


def test_no_character_that_steers_is_left_whatever_it_is() -> None:
    every = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(each) for each in escape_controls(every)}
    assert left.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert "\n" not in escape_controls(every)


def test_lines_are_kept_where_a_text_has_lines_and_a_part_stays_on_its_own() -> None:
    assert escape_lines("a\n\tb\x1b") == "a\n\tb\\x1b"
    assert indent_further_lines("platform: no\nplatform: yes") == "platform: no\n  platform: yes"
    value = {"reason": "no\nyes", "rows": [{"who\x07": ("x\u202e", "plain")}], "n": 3}
    assert texts_with_controls(value) == ["no\nyes", "who\x07", "x\u202e"]
    assert escape_parts("why: no\nyes\nend", texts_with_controls(value)) == "why: no\\nyes\nend"
    assert escape_parts("# a card\nin lines\x1b\n", ["# a card\nin lines\x1b\n"]) == "# a card\nin lines\\x1b\n"
