"""A proxy in the environment sees nothing that this machine asks itself: its loopback is another one."""

import asyncio
import os
import socket
import urllib.request
from collections.abc import Callable, Iterator

import httpx
import pytest
import requests

from mlplatform.client import AsyncClient, Client
from mlplatform.client.retries import RetryPolicy
from mlplatform.context import create_context
from mlplatform.host.processes import http_ok
from mlplatform.network.http_clients import create_http_client
from mlplatform.network.proxies import is_local_url, no_proxy_variables, proxy_variable
from mlplatform.settings import Settings
from tests.support.stubborn_peers import Peer, peer

VARIABLES = [form for name in ("http_proxy", "https_proxy", "all_proxy") for form in (name, name.upper())]
THIS_HOST = (
    *(
        "http://127.0.0.1:8000",
        "http://127.8.9.10/",
        "http://localhost:5000/x",
        "http://LOCALHOST.",
        "http://a.localhost",
    ),
    *("http://[::1]:8000/", "http://0.0.0.0:8000", "http://[::]:1", "http://[::ffff:127.0.0.1]/"),
    *(f"http://{socket.gethostname()}:80/", "https://user:pass@127.0.0.1/"),
)
OTHERS = (
    "http://10.0.0.1",
    "http://example.org",
    "http://localhost.example.org",
    "http://[2001:db8::1]/",
    "",
    "x",
    "http://",
)


@pytest.mark.parametrize("url", THIS_HOST)
def test_this_host_is_known_however_it_is_written(url: str) -> None:
    assert is_local_url(url)


@pytest.mark.parametrize("url", OTHERS)
def test_other_hosts_are_not_this_one(url: str) -> None:
    assert not is_local_url(url)


def test_what_is_written_in_no_proxy_stays_and_both_forms_say_the_same() -> None:
    found = no_proxy_variables({"NO_PROXY": "intern.example, 127.0.0.1"}, ("10.1.1.1", "127.0.0.1"))
    assert found["no_proxy"] == found["NO_PROXY"]
    names = found["no_proxy"].split(",")
    assert names[:2] == ["intern.example", "127.0.0.1"]
    assert {"localhost", "::1", "10.1.1.1", socket.gethostname()} <= set(names)
    assert len(names) == len(set(names))
    assert no_proxy_variables(found) == found


def test_the_lower_case_form_is_the_one_that_libraries_believe() -> None:
    written = {"no_proxy": "believed.example", "NO_PROXY": "other.example"}
    assert no_proxy_variables(written)["NO_PROXY"].startswith("believed.example,")


def test_a_variable_that_asks_for_a_proxy_is_named() -> None:
    assert proxy_variable({"PATH": "/", "HTTPS_PROXY": "http://p"}) == "HTTPS_PROXY"
    assert proxy_variable({"http_proxy": ""}) == ""


def fine(self: Peer, connection: socket.socket) -> None:
    self.request(connection)
    self.send(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """A proxy that the whole environment names, and that answers for anybody."""
    with peer(fine) as (port, made):
        for name in VARIABLES:
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield made


ONCE = RetryPolicy(max_attempts=1)
OWN: dict[str, Callable[[str], object]] = {
    "a probe": lambda url: http_ok(url)(),
    "the client": lambda url: Client(url, retry_policy=ONCE)._http.get("/"),
    "the client for loops": lambda url: asyncio.run(_get(url)),
    "a local client": lambda url: create_http_client(url, 5.0).get(url),
}
OF_LIBRARIES: dict[str, Callable[[str], object]] = {
    "requests, so MLflow's client and telemetry": lambda url: requests.get(url, timeout=5),
    "httpx": lambda url: httpx.get(url, timeout=5),
    "urllib": lambda url: urllib.request.build_opener().open(url, timeout=5).read(),
}


async def _get(url: str) -> None:
    async with AsyncClient(url, retry_policy=ONCE) as client:
        await client._http.get("/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.7", "0.0.0.0"])
@pytest.mark.parametrize("ask", OWN.values(), ids=OWN.keys())
def test_nothing_of_this_product_asks_a_proxy_for_this_host(
    proxy: Peer, ask: Callable[[str], object], host: str
) -> None:
    with peer(fine, host=host if host == "127.0.0.7" else "127.0.0.1") as (port, here):
        ask(f"http://{host}:{port}/")
        assert (here.connections, proxy.connections) == (1, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("ask", OF_LIBRARIES.values(), ids=OF_LIBRARIES.keys())
def test_no_library_in_a_process_of_this_product_does_either(
    proxy: Peer, settings: Settings, monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object], host: str
) -> None:
    with peer(fine) as (port, here):
        ask(f"http://{host}:{port}/")
        assert proxy.connections == 1  # as it would be without
        create_context(settings)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, os.environ[name])  # put back at the end
        ask(f"http://{host}:{port}/")
        assert (here.connections, proxy.connections) == (1, 1)


def test_the_addresses_that_servers_bind_to_are_this_hosts(
    proxy: Peer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_context(settings.model_copy(update={"host": "10.20.30.40", "mlflow_host": "192.168.7.7"}))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, os.environ[name])
    assert {"10.20.30.40", "192.168.7.7"} <= set(os.environ["NO_PROXY"].split(","))


def test_others_are_asked_through_the_proxy(proxy: Peer) -> None:
    create_http_client("http://no-such-host.invalid/", 5.0).get("http://no-such-host.invalid/")
    assert proxy.connections == 1
