import pytest

from monitors.notices.webhook_signature import sign, signed_headers, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
ID, TIME = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330


def test_a_signature_is_that_of_the_published_example() -> None:
    assert sign(SECRET, ID, TIME, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_three_headers_are_named_as_the_standard_names_them() -> None:
    headers = signed_headers(SECRET, ID, TIME, BODY)
    assert list(headers) == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    assert headers["webhook-timestamp"] == "1614265330"


def test_a_right_signature_among_several_is_accepted() -> None:
    assert verify(SECRET, ID, TIME, BODY, "v1,wrong " + sign(SECRET, ID, TIME, BODY), now=TIME + 10)


def test_a_changed_body_id_time_or_secret_is_refused() -> None:
    good = sign(SECRET, ID, TIME, BODY)
    assert not verify(SECRET, ID, TIME, BODY + b" ", good, now=TIME)
    assert not verify(SECRET, "msg_other", TIME, BODY, good, now=TIME)
    assert not verify(SECRET, ID, TIME + 1, BODY, good, now=TIME)
    assert not verify("whsec_" + "A" * 32, ID, TIME, BODY, good, now=TIME)
    assert not verify(SECRET, ID, TIME, BODY, "", now=TIME)
    assert not verify(SECRET, ID, TIME, BODY, "v1,é", now=TIME)


@pytest.mark.parametrize("now", [TIME - 301, TIME + 301])
def test_an_old_or_future_message_is_refused(now: int) -> None:
    assert not verify(SECRET, ID, TIME, BODY, sign(SECRET, ID, TIME, BODY), now=now)
