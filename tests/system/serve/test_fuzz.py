"""Strange requests to every endpoint of a server in this process: none is answered with 5xx, none ends it."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import orjson
import pytest
import uvicorn

from mlplatform.context import AppContext
from mlplatform.host.processes import free_port
from mlplatform.serve.api_server import build_server
from mlplatform.serve.app import create_app
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.api_server import loaded
from tests.support.fuzzing import fuzz, with_pages
from tests.support.monitoring_world import with_rules
from tests.support.platform_world import FakeCatalog, picture
from tests.support.table_model import COLUMNS, ROW, TableContracts, table_model

EACH = int(os.environ.get("PLATFORM_TEST_FUZZ_EACH", "3"))
"""How many valid and how many invalid requests every endpoint gets."""
SECONDS = 30.0 * EACH
"""No limit in practice: what is asked does not depend on how fast this machine is."""


@contextmanager
def serving(context: AppContext, model: LoadedModel) -> Iterator[str]:
    """A server on loopback that asks for no key and answers with this version; its address."""
    settings = context.settings.model_copy(update={"allowed_hosts": (), "port": free_port()})
    server = build_server(with_rules(context.replace(settings=settings)))
    server.model_slot.swap(model)
    config = uvicorn.Config(create_app(server), host="127.0.0.1", port=settings.port, log_config=None)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{settings.port}"
    running.should_exit = True
    thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture
def address(lite: AppContext) -> Iterator[str]:
    """A server of a model of pictures."""
    with serving(lite, loaded(1)) as address:
        yield address


def test_no_request_makes_the_server_fail(address: str) -> None:
    with httpx.Client(base_url=address, timeout=30) as client:
        schema = client.get("/openapi.json").json()
        body = {"images": [picture(1).tolist()]}
        ids = [client.post("/v1/predict", json=body).json()["predictions"][0]["id"] for _ in range(5)]
    found = fuzz(address, schema, ids, headers={}, seconds=SECONDS, each=EACH, seed=1)
    assert found.bad == []
    operations = {(path, verb) for path, verbs in with_pages(schema)["paths"].items() for verb in verbs}
    assert len(operations) > 15
    for path, verb in operations:
        assert found.routes[f"{verb.upper()} {path}"] > 0, path
    assert {"200", "404", "422"} <= set(found.statuses)
    assert httpx.get(f"{address}/readyz", timeout=10).json()["status"] == "ready"


STRANGE = (
    b"null", b"true", b"1e308", b"-0.0", b"1e999", b"NaN", b"12345678901234567890123", b"-1", b"0.1", b'""', b'"gold"',
    b'"\\ud800"', b'"\\u0000"', b'"\xc3\xa4"', b'"\xff"', b"[]", b"{}", b"[[1]]", b'"' + b"x" * 5000 + b'"',
)  # fmt: skip
LISTS = ("references", "subjects", "tags")


def strange_body(chance: random.Random) -> bytes:
    """Rows whose columns, values and lists are whatever may be written into JSON, and sometimes not even that."""

    def row() -> bytes:
        names = [column.name.encode() for column in COLUMNS if chance.random() < 0.8]
        names += [chance.choice((b"age", b"height", b"", b"\\ud800")) for _ in range(chance.choice((0, 0, 0, 1)))]
        good = {name.encode(): orjson.dumps(value) for name, value in ROW.items()}
        pairs = [
            b'"%s": %s' % (name, good[name] if name in good and chance.random() < 0.95 else chance.choice(STRANGE))
            for name in names
        ]
        return b"{%s}" % b", ".join(pairs)

    count = chance.choice((0, 1, 1, 2, 3, 25))
    fields = [b'"rows": [%s]' % b", ".join(row() for _ in range(count))]
    for name in LISTS:
        if chance.random() < 0.4:
            each = [
                chance.choice((b'"a"', b"null", b'{"shop": "x"}', *STRANGE)) for _ in range(chance.choice((1, count)))
            ]
            fields.append(b'"%s": [%s]' % (name.encode(), b", ".join(each)))
    body = b"{%s}" % b", ".join(fields)
    return body if chance.random() < 0.9 else body[: chance.randrange(len(body))]


@pytest.mark.both_databases
def test_no_request_makes_a_server_of_a_table_fail(settings: Settings, database: Database) -> None:
    small = settings.model_copy(update={"max_images": 20, "max_body_mb": 1.0, "baseline_calls": 20})
    small.home.mkdir()
    context = AppContext(small, database=database, catalog=FakeCatalog(), contracts=TableContracts())
    chance, statuses, accepted = random.Random(7), Counter[int](), list[str]()
    with serving(context, table_model()) as address, httpx.Client(base_url=address, timeout=30) as client:
        for number in range(200 * EACH):
            path = ("/v1/predict", "/v1/predict", "/invocations")[number % 3]
            body = strange_body(chance)
            if path == "/invocations":
                body = body.replace(b'"rows"', b'"dataframe_records"', 1)
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (body, answer.text)
            if answer.status_code == 200 and path == "/v1/predict":
                accepted += [each["id"] for each in answer.json()["predictions"]]
        kept = [client.get(f"/v1/predictions/{each}") for each in accepted[:50]]
        schema = client.get("/openapi.json").json()
        other = []  # pages and routes beside: on one kind of database, as the test of pictures
        if database.is_sqlite:
            other = fuzz(address, schema, accepted[:5], headers={}, seconds=10 * EACH, each=1, seed=2).bad
    assert {200, 422} <= set(statuses), statuses
    assert [answer.status_code for answer in kept] == [200] * len(kept)
    assert len(kept) > 20, statuses
    assert other == []
