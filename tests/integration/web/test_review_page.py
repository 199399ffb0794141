"""The pages where people label: what they show and hide, forms that work without a script, and whose they are."""

import re
from html import unescape

import httpx
import pytest

from mlplatform.audit.audit_entries import recent_entries
from mlplatform.context import AppContext
from mlplatform.predictions import prediction_records
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.web.review_page import assign_keys
from tests.support.api_server import problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.page_forms import form_token
from tests.support.platform_world import FakeCatalog
from tests.support.review_world import draw_all, drawn, open_audit, undrawn
from tests.support.table_model import CONTRACT, ROW, TableContracts, table_model


@pytest.fixture
def waiting(server: ApiServer) -> list[str]:
    """Three drawn inputs."""
    draw_all(server.context)
    return drawn(server.context)


def hidden_fields(page: str) -> dict[str, str]:
    """What the page's form sends besides its buttons."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def begin(client: httpx.Client, queue: str = "draw", name: str = "ada", headers: dict[str, str] | None = None) -> str:
    """Ask for the first input as a browser without a script does; returns its page."""
    form = hidden_fields(client.get("/review", params={"reviewer": name}, headers=headers).text)
    return client.post(f"/review/{queue}", data=form, follow_redirects=True, headers=headers).text


def answer(client: httpx.Client, page: str, queue: str = "draw", **said: str) -> str:
    """Press a button of the page; returns the page that follows."""
    followed = client.post(f"/review/{queue}", data=hidden_fields(page) | said, follow_redirects=True)
    assert followed.status_code == 200, followed.text
    return followed.text


def test_the_queues_are_listed_with_what_waits(server: ApiServer, client: httpx.Client, waiting: list[str]) -> None:
    task = open_audit(server.context, undrawn(server.context), "<i>3</i>")
    page = client.get("/review").text
    assert "Who reviews" in page
    assert "<button aria-describedby" not in page, "nobody is named yet"
    page = client.get("/review?reviewer=ada").text
    assert "3 wait." in page
    assert "2 of 2 wait." in page
    assert "Label audit: class &lt;i&gt;3&lt;/i&gt;" in page
    assert f'action="./review/{task}"' in page
    assert page.count("<button aria-describedby") == 2, "no disagreement waits"


def test_the_class_that_an_audit_is_about_is_not_named_beside_its_inputs(
    server: ApiServer, client: httpx.Client, waiting: list[str]
) -> None:
    task = open_audit(server.context, undrawn(server.context), "seven")
    page = begin(client, task)
    assert "<h1>Label audit</h1>" in page
    assert "seven" not in page


def test_an_input_is_shown_large_with_keys_and_without_the_models_answer(
    client: httpx.Client, waiting: list[str]
) -> None:
    page = begin(client)
    held = hidden_fields(page)["prediction_id"]
    assert held in waiting
    [picture] = re.findall(r'<img class="input" src="\.\./([^"]+)"', page)
    image = client.get(f"/{unescape(picture)}")
    assert image.content.startswith(b"\x89PNG")
    assert image.headers["cache-control"] == "no-store", "an erased input is gone from browsers too"
    assert re.findall(r'name="label" value="(\d)" data-keys="(\d)"', page) == [(key, key) for key in "0123456789"]
    assert 'value="unsure" data-keys="u ?"' in page, "an arrow down scrolls"
    assert "confidence" not in page
    assert "% sure" not in page
    assert 'class="given"' not in page
    for other in waiting:
        if other != held:
            assert other not in page
            problem(client.get(f"/review/draw/inputs/{other}?reviewer=ada"), 404)


def test_labels_are_given_without_a_script_until_nothing_waits(
    server: ApiServer, client: httpx.Client, waiting: list[str]
) -> None:
    page = begin(client)
    page = answer(client, page, label="5")
    assert "You labelled 1 input in 24 hours." in page
    page = answer(client, page, verdict="skip")
    page = answer(client, page, label="6")
    assert "You hold no input of this queue." in page
    assert "1 wait" in page
    with server.context.database.read() as connection:
        entries = [(each["action"], each["actor"]) for each in recent_entries(connection)]
    assert entries.count(("feedback", "ada")) == 2
    assert entries.count(("skip-review", "ada")) == 1


def test_going_back_shows_what_was_said_and_takes_another_answer(client: httpx.Client, waiting: list[str]) -> None:
    first = begin(client)
    second = answer(client, first, label="5")
    [back] = re.findall(r'href="\.\./(review/draw[^"]*item=[^"]*)"', second)
    earlier = client.get(f"/{unescape(back)}").text
    assert "You said: 5." in earlier
    assert re.search(r'value="5" data-keys="5" class="given"', earlier)
    assert 'name="verdict"' in second
    assert 'name="verdict"' not in earlier, "a label is replaced by another one alone"
    assert hidden_fields(earlier)["prediction_id"] == hidden_fields(first)["prediction_id"]
    after = answer(client, earlier, label="6")
    assert hidden_fields(after)["prediction_id"] == hidden_fields(second)["prediction_id"]
    labels = client.get(f"/v1/predictions/{hidden_fields(first)['prediction_id']}").json()["labels"]
    assert [label["label"] for label in labels] == ["6"]


@pytest.mark.parametrize(
    ("form", "status", "told"),
    [
        ({"label": "5"}, 422, "nobody is named who reviews"),
        ({"reviewer": "ada", "label": "5"}, 422, "no input is named"),
        ({"reviewer": "ada", "prediction_id": "x", "verdict": "wrong"}, 422, "it is skip or unsure"),
        ({"reviewer": "ada", "prediction_id": "x", "label": "5"}, 409, "is not held by ada"),
        ({"reviewer": "a\nb"}, 422, "must be a printable text"),
        ({"reviewer": "ada", "extra": "1"}, 422, "unknown field 'extra'"),
        ({"reviewer": "model", "label": "5"}, 422, "no input is named"),
    ],
)
def test_a_form_that_cannot_be_is_refused_in_words(
    server: ApiServer, client: httpx.Client, waiting: list[str], form: dict[str, str], status: int, told: str
) -> None:
    assert told in problem(client.post("/review/draw", data=form | form_token(server)), status)


def test_a_model_is_no_reviewer_and_a_class_must_be_known(client: httpx.Client, waiting: list[str]) -> None:
    page = begin(client, name="model")
    assert "is a model" in problem(client.post("/review/draw", data=hidden_fields(page) | {"label": "5"}), 422)
    page = begin(client)
    form = hidden_fields(page) | {"label": "<script>5</script>"}
    refused = client.post("/review/draw", data=form, headers={"accept": "text/html"})
    assert refused.status_code == 422
    assert "<script>5" not in refused.text


def test_names_of_reviewers_become_no_markup(client: httpx.Client, waiting: list[str]) -> None:
    name = '"><script>alert(1)</script>'
    for page in (client.get("/review", params={"reviewer": name}).text, begin(client, name=name)):
        assert "<script>alert" not in page
    assert hidden_fields(begin(client, name=name))["reviewer"] == name


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "http://evil.test"}])
def test_another_sites_form_labels_nothing(client: httpx.Client, waiting: list[str], headers: dict[str, str]) -> None:
    form = hidden_fields(begin(client)) | {"label": "5"}
    assert client.post("/review/draw", data=form, headers=headers).status_code == 403
    assert client.get(f"/v1/predictions/{form['prediction_id']}").json()["labels"] == []


def test_a_reviewers_key_labels_and_sees_no_answer(lite: AppContext) -> None:
    server = guarded(lite)
    draw_all(server.context)
    [only] = drawn(server.context, 1)
    reviewer, reader = shown(key(server, "review", name="grace"), "basic"), shown(key(server, "audit"), "basic")
    with running(server) as client:
        assert "Who reviews" not in client.get("/review", headers=reviewer).text
        assert client.get("/review", headers=reader).status_code == 200
        assert client.post("/review/draw", headers=reader).status_code == 403
        assert client.get(f"/v1/predictions/{only}", headers=reviewer).status_code == 403
        assert client.get("/v1/audit/next?reviewer=eve&limit=100", headers=reviewer).status_code == 403
        page = begin(client, headers=reviewer)
        form = hidden_fields(page) | {"label": "5", "reviewer": "somebody else"}
        assert client.get(f"/review/draw/inputs/{only}", headers=reviewer).status_code == 200
        assert client.post("/review/draw", data=form, headers=reviewer).status_code == 303
    with server.context.database.read() as connection:
        [entry] = [each for each in recent_entries(connection) if each["action"] == "feedback"]
    assert entry["actor"] == "grace"
    assert entry["details"]["key"]


def test_an_overview_leads_to_the_label_audit(server: ApiServer, client: httpx.Client, waiting: list[str]) -> None:
    task = open_audit(server.context, undrawn(server.context))
    assert f'<a href="./review/{task}">Label 2 inputs</a>' in client.get("/").text


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        (tuple("0123456789"), "0123456789"),
        (("A", "b"), "ab"),
        (("no", "maybe", "yes"), "nmy"),
        (("no", "hi"), "nh"),
        (("12", "34"), "13"),
        (("de", "no"), "dn"),
        (("cat", "cow"), "12"),
        (("10", "11", "20"), "123"),
        (("<", ">"), "12"),
        (tuple(str(number) for number in range(40)), ""),
    ],
)
def test_each_class_has_a_key_of_its_own(classes: tuple[str, ...], keys: str) -> None:
    assert "".join(assign_keys(classes).values()) == keys


@pytest.fixture
def table(settings: Settings, database: Database) -> ApiServer:
    """A server of a model of a table."""
    small = settings.model_copy(update={"allowed_hosts": ("api",)})
    small.home.mkdir(exist_ok=True)
    catalog = FakeCatalog()
    catalog.add("digits", 1)
    made = build_server(AppContext(small, database=database, catalog=catalog, contracts=TableContracts(CONTRACT)))
    made.model_slot.swap(table_model(1, CONTRACT))
    return made


def test_a_row_is_shown_by_its_columns(table: ApiServer) -> None:
    draw_all(table.context)
    hostile = ROW | {"note": "<script>note</script>", "visits": None}
    with running(table) as client:
        made = client.post("/v1/predict", json={"rows": [hostile]}).json()["predictions"][0]["id"]
        assert client.get(f"/v1/predictions/{made}").status_code == 200
        page = begin(client)
        cells = dict(re.findall(r'<th scope="row">([^<]+)</th><td[^>]*>([^<]*)</td>', page))
        assert cells == {
            "age": "41",
            "visits": "missing",
            "member": "yes",
            "plan": "gold",
            "note": "&lt;script&gt;note&lt;/script&gt;",
            "since": "1970-01-01 00:00:00 UTC",
        }
        assert re.findall(r'name="label" value="(\w+)" data-keys="(\w)"', page) == [("no", "n"), ("yes", "y")]
        [given] = client.get("/v1/audit/next?reviewer=ada").json()["answers"]
        assert (given["image"], given["row"]["note"]) == ("", "<script>note</script>")
        problem(client.get(f"/review/draw/inputs/{made}?reviewer=ada"), 404)
        answer(client, page, label="yes")
        with table.context.database.read() as connection:
            answered = prediction_records.find(connection, made).label
        inputs = client.get("/models/digits/inputs", params={"truth": "yes", "answer": answered}).text
    assert "<dt>plan</dt><dd>gold</dd>" in inputs
    assert "<img" not in inputs
