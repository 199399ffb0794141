"""Every kind of notice has a picture in the documentation, made of what is sent."""

from pathlib import Path

import pytest

from monitors.notices.slack import slack_payload
from tests.support.notice_pictures import example_notices, preview_page

PICTURES = Path(__file__).parents[4] / "docs" / "img" / "notices"
NOTICES = example_notices()


def test_the_kinds_are_those_that_have_a_picture() -> None:
    assert {notice.kind for notice in NOTICES.values()} == set(NOTICES)
    assert {path.stem for path in PICTURES.glob("*.png")} == set(NOTICES)


@pytest.mark.parametrize("kind", NOTICES)
def test_a_picture_shows_the_mail_and_slacks_message(kind: str) -> None:
    notice = NOTICES[kind]
    page = preview_page(notice)
    assert "cid:" not in page
    for sentence in (notice.instruction, *notice.sentences):
        start = sentence.partition("`")[0].strip()
        assert page.count(start) >= 2, sentence
    assert len(slack_payload(notice)["blocks"]) > 3
