"""Strange requests to every endpoint of a server in this process: none is answered with 5xx, none ends it."""

import os
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from mlplatform.context import AppContext
from mlplatform.host.processes import free_port
from mlplatform.serve.api_server import build_server
from mlplatform.serve.app import create_app
from tests.support.api_server import loaded
from tests.support.fuzzing import fuzz, with_pages
from tests.support.monitoring_world import with_rules
from tests.support.platform_world import picture

EACH = int(os.environ.get("PLATFORM_TEST_FUZZ_EACH", "3"))
"""How many valid and how many invalid requests every endpoint gets."""
SECONDS = 30.0 * EACH
"""No limit in practice: what is asked does not depend on how fast this machine is."""


@pytest.fixture
def address(lite: AppContext) -> Iterator[str]:
    """A server on loopback that asks for no key and answers with version 1."""
    settings = lite.settings.model_copy(update={"allowed_hosts": (), "port": free_port()})
    server = build_server(with_rules(lite.replace(settings=settings)))
    server.model_slot.swap(loaded(1))
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
