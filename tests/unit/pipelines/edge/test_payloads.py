"""Forms and JSON texts are taken apart within bounds, and nothing that a client says chooses how."""

from __future__ import annotations

import pytest

from pipelines.edge.request_payloads import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    JsonLimits,
    MalformedFormError,
    PayloadError,
    PayloadTooLargeError,
    describe_value,
    parse_form,
)

KIND = "multipart/form-data; boundary=x"


def part(content: bytes, disposition: str = 'form-data; name="files"; filename="a.png"', more: str = "") -> bytes:
    return (
        b"--x\r\nContent-Disposition: " + disposition.encode() + b"\r\n" + more.encode() + b"\r\n" + content + b"\r\n"
    )


def field(name: str, content: bytes) -> bytes:
    return part(content, f'form-data; name="{name}"')


def test_files_come_in_their_order_and_texts_by_name() -> None:
    body = part(b"\0\1\r\n--xless\r\n"[:4]) + field("client_id", "mañana".encode()) + part(b"") + b"--x--\r\nrest"
    form = parse_form(body, KIND, 5)
    assert form.files == (b"\0\1\r\n", b"")
    assert form.fields == {"client_id": "mañana"}


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="files"; filename="a.png"',
        "form-data; name=files; filename=a.png",
        'FORM-DATA;NAME="files";FILENAME="a;b\\"c.png"',
        "form-data; name=files; filename*=utf-16''%FF%FE",
        "form-data; name=files; filename*=punycode''" + "a" * 3000,
        'form-data; name="files"; filename=""',
    ],
)
def test_a_part_with_a_file_name_of_any_form_is_a_file(disposition: str) -> None:
    assert parse_form(part(b"data", disposition) + b"--x--", KIND, 1).files == (b"data",)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=x; charset=punycode",
        "multipart/form-data; charset=undefined; boundary=x",
        'multipart/form-data; charset="utf-7"; boundary="x"',
        "multipart/form-data; boundary=x; charset=idna; charset=utf-16",
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data ;\tboundary = x",
    ],
)
def test_texts_are_utf_8_whatever_the_client_says(kind: str) -> None:
    body = field("_charset_", b"punycode") + field("tags", "+AGE-ü".encode()) + b"--x--\r\n"
    assert parse_form(body, kind, 1).fields == {"_charset_": "punycode", "tags": "+AGE-ü"}


def test_a_part_within_a_part_is_bytes_like_any_other() -> None:
    inner = b"--y\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--y--"
    nested = part(inner, more="Content-Type: multipart/mixed; boundary=y\r\n") + b"--x--"
    assert parse_form(nested, KIND, 1).files == (inner,)


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b"", KIND, MalformedFormError),
        (b"hello", KIND, MalformedFormError),
        (b"--x", KIND, MalformedFormError),
        (b"--x\r\n", KIND, MalformedFormError),
        (part(b"1"), KIND, MalformedFormError),
        (b"--xy\r\n" + part(b"1") + b"--x--", KIND, MalformedFormError),
        (b"--x\r\n\r\n1\r\n--x--", KIND, MalformedFormError),
        (part(b"1", "form-data") + b"--x--", KIND, MalformedFormError),
        (part(b"1", more="x-much: " + "y" * 9000 + "\r\n") + b"--x--", KIND, MalformedFormError),
        (part(b"1", more="x: y\r\n" * 20_000) + b"--x--", KIND, MalformedFormError),
        (b"--x\r\n" * 300_000, KIND, MalformedFormError),
        (part(b"1") + b"--x--", "multipart/form-data", MalformedFormError),
        (part(b"1") + b"--x--", "multipart/form-data; boundary=", MalformedFormError),
        (part(b"1") + b"--x--", "multipart/form-data; boundary=" + "x" * 201, MalformedFormError),
        (part(b"1") + b"--x--", KIND + "; a=" + "b" * 600, MalformedFormError),
        (part(b"1") + b"--x--", "multipart/form-data; boundary=\u2713", MalformedFormError),
        (part(b"1") + b"--x--", 'multipart/form-data; boundary="x', MalformedFormError),
        (b"".join(field("f", b"1") for _ in range(MAX_FIELDS + 1)) + b"--x--", KIND, MalformedFormError),
        (part(b"1") * 6 + b"--x--", KIND, PayloadTooLargeError),
        (field("f", b"1" * (MAX_FIELD_BYTES + 1)) + b"--x--", KIND, PayloadTooLargeError),
        (field("f", b"\xff") + b"--x--", KIND, PayloadError),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_form_or_too_much_of_one_is_refused(body: bytes, kind: str, error: type[PayloadError]) -> None:
    with pytest.raises(error) as caught:
        parse_form(body, kind, 5)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[[1]]," * 100_000, PayloadTooLargeError),
        (b"[" * 100_000, PayloadError),
        (b"{}," * 100_000, PayloadTooLargeError),
        (b'{"a":' * 100_000, PayloadError),
        (b'"a",' * 100_000, PayloadTooLargeError),
    ],
)
def test_a_text_of_more_than_pictures_need_is_refused_before_it_is_parsed(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        JsonLimits.for_images(4, 28, 28).check(body)


def test_pictures_in_every_form_that_is_taken_are_within_their_amounts() -> None:
    line = b"[" + b",".join([b"0.125"] * 28) + b"]"
    picture = b"[[" + b",".join([line] * 28) + b"]]"
    record = b"{" + b",".join(b'"%d":255' % place for place in range(784)) + b"}"
    for item in (picture, record):
        JsonLimits.for_images(4, 28, 28).check(b'{"params":{"tags":{}},"inputs":[' + b",".join([item] * 4) + b"]}")


def test_what_a_client_sent_is_shown_short() -> None:
    deep: object = []
    for _ in range(5000):
        deep = [deep]
    values = ["x" * 10**6, deep, {"a": deep}, 10**5000, None, True, 1.5, -7, "\ud800"]
    assert [len(describe_value(value)) < 60 for value in values] == [True] * len(values)
    assert [describe_value(value) for value in values[1:8]] == [
        "a list",
        "an object",
        "a number",
        "null",
        "true",
        "1.5",
        "-7",
    ]
