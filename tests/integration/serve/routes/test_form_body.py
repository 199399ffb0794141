"""The forms of pages: few and short texts, by their names, whatever a client sends."""

import httpx
import pytest

from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.routes.form_body import MAX_BODY_BYTES, MAX_TEXT_LENGTH
from tests.support.page_forms import form_token

FORM = "application/x-www-form-urlencoded"
PATH = "/alerts/01a22a4a-f7e0-7000-8000-000000000000/silence"


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"duration=", FORM, "no duration was given"),
        (b"duration=2h&reason=", FORM, "no reason was given"),
        (b"duration=2h&reason=x&more=1", FORM, "unknown field 'more'"),
        (b"duration=2h&reason=" + b"x" * (MAX_TEXT_LENGTH + 1), FORM, "2001 characters"),
        (b"duration=2h&reason=%00", FORM, "none of them NUL"),
        (b"duration=2h&reason=%ff", FORM, "cannot be read"),
        ("duration=2h&reason=ä".encode(), FORM, "cannot be read"),
        (b"a=1&" * 30, FORM, "cannot be read"),
        (b"x" * (MAX_BODY_BYTES + 1), FORM, f"at most {MAX_BODY_BYTES}"),
        (b'{"duration": "2h"}', "application/json", "is not that of a form"),
        (b"duration=soon&reason=x", FORM, "duration 'soon'"),
    ],
)
def test_what_is_no_form_of_the_page_is_refused_with_its_reason(
    server: ApiServer, client: httpx.Client, body: bytes, kind: str, said: str
) -> None:
    token = f"form_token={form_token(server)['form_token']}&".encode()
    answer = client.post(PATH, content=token + body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_whole_form_is_read_and_its_alert_looked_for(server: ApiServer, client: httpx.Client) -> None:
    answer = client.post(PATH, data={"duration": "2h", "reason": "we know, ü"} | form_token(server))
    assert answer.status_code == 404
