import pytest
from pydantic import TypeAdapter, ValidationError

from monitors.rules.channel_config import Channel, EmailChannel, is_secret, webhook_signing_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def channel(**written: object) -> Channel:
    parsed: Channel = TypeAdapter[Channel](Channel).validate_python(written)
    return parsed


def test_an_empty_address_switches_a_channel_off() -> None:
    assert not channel(type="slack", url="").is_configured
    assert channel(type="slack", url="https://hooks.slack.com/services/T/B/x").is_configured
    assert not channel(type="webhook", url="", secret="").is_configured
    assert channel(type="webhook", url="http://127.0.0.1:9000/hook", secret=SECRET).is_configured


@pytest.mark.parametrize(
    ("kind", "url"),
    [("alertmanager", "http://receiver:8080/alerts"), ("apprise", "tgram://123:secret/chat?silent=yes,no")],
)
def test_a_channel_of_one_address_is_on_when_it_has_one(kind: str, url: str) -> None:
    assert channel(type=kind, url=url).is_configured
    off = channel(type=kind, url=" ")
    assert (off.is_configured, off.missing_keys) == (False, ("url",))
    assert "secret" not in repr(channel(type=kind, url=url))


@pytest.mark.parametrize("url", ["ntfy.sh/topic", "://x", "two words://x", "ntfy://a b"])
def test_what_is_not_an_apprise_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="is not an Apprise URL"):
        channel(type="apprise", url=url)


def test_an_email_channel_needs_host_sender_and_readers() -> None:
    full = {"type": "email", "host": "mail", "sender": "a@b.c", "to": ["d@e.f"]}
    assert channel(**full).is_configured
    for key, empty in {"host": "", "sender": "", "to": [""]}.items():
        assert channel(**{**full, key: empty}).missing_keys == (key,)


def test_readers_may_be_one_text_with_commas() -> None:
    mail = channel(type="email", host="mail", sender="a@b.c", to="d@e.f, g@h.i,", port="2525", starttls="false")
    assert isinstance(mail, EmailChannel)
    assert mail.to == ("d@e.f", "g@h.i")
    assert (mail.port, mail.starttls) == (2525, False)


@pytest.mark.parametrize(
    ("written", "server", "encryption"),
    [
        ({"host": "mail"}, ("mail", 587), "starttls"),
        ({"host": "mail", "starttls": False}, ("mail", 587), "none"),
        ({"host": "mail", "starttls": False, "port": 25}, ("mail", 25), "none"),
        ({"host": "mail", "port": 465}, ("mail", 465), "implicit"),
        ({"host": "mail", "port": 465, "starttls": True}, ("mail", 465), "implicit"),
        ({"host": "mail", "port": 465, "tls": "none"}, ("mail", 465), "none"),
        ({"host": "mail", "port": 465, "tls": "starttls"}, ("mail", 465), "starttls"),
        ({"host": "mail", "port": 2465, "tls": "implicit"}, ("mail", 2465), "implicit"),
        ({"host": "smtps://mail"}, ("mail", 465), "implicit"),
        ({"host": "smtps://mail", "port": 587}, ("mail", 465), "implicit"),
        ({"host": "smtps://mail", "port": 2465}, ("mail", 2465), "implicit"),
        ({"host": "smtps://mail:4650", "port": 2465}, ("mail", 4650), "implicit"),
        ({"host": "smtp://mail:25", "starttls": False}, ("mail", 25), "none"),
        ({"host": "smtp://mail"}, ("mail", 587), "starttls"),
        ({"host": "smtps://[2001:db8::1]:465"}, ("2001:db8::1", 465), "implicit"),
        ({"host": "2001:db8::1"}, ("2001:db8::1", 587), "starttls"),
        ({"host": "192.0.2.1", "starttls": False, "tls": "starttls"}, ("192.0.2.1", 587), "starttls"),
    ],
)
def test_a_mail_server_and_how_it_is_spoken_to(
    written: dict[str, object], server: tuple[str, int], encryption: str
) -> None:
    mail = channel(type="email", sender="a@b.c", to=["d@e.f"], **written)
    assert isinstance(mail, EmailChannel)
    assert (mail.server, mail.encryption) == (server, encryption)


@pytest.mark.parametrize(
    "host",
    [
        "https://mail",
        "smtps://",
        "smtps://mail/path",
        "smtps://me:pass@mail",
        "ma il",
        "mail:25",
        "smtps://mail:x",
        "a\x00b",
    ],
)
def test_what_is_not_a_mail_server_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="is not a mail server"):
        channel(type="email", host=host, sender="a@b.c", to=[])


@pytest.mark.parametrize("address", ["a@b\x00c", "a\x1b@b", '"a"@b', "a@b:c", "a(b)@c", "a\u202e@b", "a@[b"])
def test_what_is_not_plainly_an_address_is_none(address: str) -> None:
    with pytest.raises(ValidationError, match="not an email address"):
        channel(type="email", host="mail", sender="a@b.c", to=[address])


@pytest.mark.parametrize("address", ["a+b@c.d", "o'neil@example.org", "müller@exämple.org", "a@[192.0.2.1]"])
def test_addresses_that_people_have_are_taken(address: str) -> None:
    mail = channel(type="email", host="mail", sender="a@b.c", to=[address])
    assert isinstance(mail, EmailChannel)
    assert mail.to == (address,)


@pytest.mark.parametrize("address", ["a", "a@b\nBcc: x@y", "a b@c", "<a@b>", "a@b,c@d@e"])
def test_what_could_forge_a_header_is_not_an_email_address(address: str) -> None:
    with pytest.raises(ValidationError, match="not an email address"):
        channel(type="email", host="mail", sender=address, to=[])


@pytest.mark.parametrize("url", ["ftp://x", "hooks.slack.com", "https://", "https://[bad", "https://a b"])
def test_what_is_not_a_web_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="not a web address"):
        channel(type="slack", url=url)


def test_a_webhook_with_an_address_must_be_signed() -> None:
    with pytest.raises(ValidationError, match="needs a secret"):
        channel(type="webhook", url="https://x.y", secret="")


def test_a_user_name_without_a_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="go together"):
        channel(type="email", host="mail", sender="a@b.c", to=[], username="me")


@pytest.mark.parametrize("secret", ["plain", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_")])
def test_a_weak_or_malformed_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 random bytes"):
        webhook_signing_key(secret)


def test_secrets_do_not_show_when_a_channel_is_printed() -> None:
    shown = repr(channel(type="webhook", url="https://hidden.example", secret=SECRET))
    assert "hidden" not in shown
    assert SECRET not in shown
    assert is_secret("url")
    assert not is_secret("host")
