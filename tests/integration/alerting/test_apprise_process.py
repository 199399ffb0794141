"""Apprise's process obeys the egress policy in every library and every thread; other processes are free."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SCRIPT = """
import http.client, json, socket, sys, threading, urllib.request
import requests
from mlplatform.alerting.channels.apprise_process import enforce_egress_policy
from mlplatform.network.egress import egress_policy

port, allowed, where = int(sys.argv[1]), sys.argv[2].split(), sys.argv[3]
url = f"http://127.0.0.1:{port}/"

def over_http_client():
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/")
    connection.getresponse().read()

def sendto():
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"x", ("127.0.0.1", port))

def sendmsg():
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.sendmsg([b"x"], [], 0, ("127.0.0.1", port))

ways = {
    "socket": lambda: socket.create_connection(("127.0.0.1", port)).close(),
    "http.client": over_http_client,
    "urllib": lambda: urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).close(),
    "requests": lambda: requests.get(url, proxies={"http": "", "https": ""}),
    "sendto": sendto,
    "sendmsg": sendmsg,
}
outcomes = {}

def run(name, way):
    try:
        way()
        outcomes[name] = "connected"
    except Exception as error:
        outcomes[name] = "refused" if "is no public address" in str(error) else repr(error)

refusals = enforce_egress_policy(egress_policy(tuple(allowed)))
for name, way in ways.items():
    if where == "another thread":
        thread = threading.Thread(target=run, args=(name, way))
        thread.start()
        thread.join()
    else:
        run(name, way)
print(json.dumps({"outcomes": outcomes, "refusals": sorted(set(refusals))}))
"""
WAYS = ("socket", "http.client", "urllib", "requests", "sendto", "sendmsg")


@contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A web server on loopback, with the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("where", ["the main thread", "another thread"])
@pytest.mark.parametrize(("allowed", "outcome"), [("", "refused"), ("127.0.0.1", "connected")])
def test_no_library_connects_elsewhere_from_any_thread(where: str, allowed: str, outcome: str) -> None:
    with listening() as (port, asked):
        command = [sys.executable, "-c", SCRIPT, str(port), allowed, where]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        answer = json.loads(ended.stdout)
        assert answer["outcomes"] == dict.fromkeys(WAYS, outcome)
        refused = "127.0.0.1 is no public address; PLATFORM_ALLOWED_RECEIVERS may allow it"
        assert answer["refusals"] == ([refused] if outcome == "refused" else [])
        assert len(asked) == (0 if outcome == "refused" else 3)
