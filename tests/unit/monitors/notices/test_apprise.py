from monitors.notices.apprise_payload import apprise_payload
from tests.support.notice_examples import group, notice


def test_a_pushed_message_is_a_title_and_all_the_words() -> None:
    message = apprise_payload(notice())
    assert message["title"] == "firing: a-rule · digits v3"
    assert message["body"].startswith("Nothing to do now: a retraining is asked for")
    assert "\n\nAccuracy fell.\n\nValue: 8.0 points" in message["body"]


def test_its_kind_follows_severity_until_all_is_well() -> None:
    assert apprise_payload(notice())["type"] == "failure"
    assert apprise_payload(group())["type"] == "warning"
    assert apprise_payload(notice("resolved"))["type"] == "success"
