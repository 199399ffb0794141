"""A real Prometheus scrapes a server under traffic: every panel's query returns data, every alert rule is evaluated."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from mlplatform.serve.api_server import ApiServer
from tests.support.api_server import (  # noqa: F401 - fixtures
    GREY,
    address,
    flaky,
    lite,
    server,
    stocked,
)
from tests.support.platform_world import picture

ROOT = Path(__file__).parents[3]
DEPLOYMENT = ROOT / "deploy" / "grafana"
PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="no Prometheus in the PATH (Debian package prometheus)"),
]
SECONDS = 60.0


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Prometheus with the deployment's rules, which scrapes the target every second."""
    config = yaml.safe_load((DEPLOYMENT / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    del job["authorization"]  # a server on loopback asks for no key
    shutil.copy(DEPLOYMENT / "alert-rules.yml", folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
                yield client
        finally:
            process.terminate()


def send_traffic(client: httpx.Client, number: int) -> None:
    """A picture that is new, one that was there before, a label for it, and a request that is refused."""
    images = [picture(100 + number).tolist(), GREY.tolist()]
    answer = client.post("/v1/predict", json={"images": images})
    assert answer.status_code == 200
    for item in answer.json()["predictions"]:
        label = {"prediction_id": item["id"], "label": "1", "source": "delayed"}
        assert client.post("/v1/feedback", json=label).status_code in (200, 201, 202)
    assert client.get("/nowhere").status_code == 404


def returned(prometheus: httpx.Client, query: str) -> list[str]:
    """The values of the series that a query gives now, those that are numbers."""
    answer = prometheus.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 200, answer.text
    values = [series["value"][1] for series in answer.json()["data"]["result"]]
    return [value for value in values if value != "NaN"]


def panel_queries() -> dict[str, str]:
    """Each query of the dashboard, by its panel and letter."""
    panels = json.loads((DEPLOYMENT / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel["targets"]}


def test_every_panel_has_data_and_every_rule_is_evaluated(
    server: ApiServer,  # noqa: F811
    address: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert server.metrics is not None
    queries, deadline = panel_queries(), time.monotonic() + SECONDS
    with (
        prometheus(tmp_path, address) as asked,
        httpx.Client(base_url=f"http://{address}", trust_env=False) as client,
    ):
        empty, number = list(queries), 0
        while empty and time.monotonic() < deadline:
            send_traffic(client, number := number + 1)
            time.sleep(0.5)
            try:
                empty = [name for name, query in queries.items() if not returned(asked, query)]
            except httpx.ConnectError:  # it is starting
                continue
        assert empty == []
        assert len(queries) > 14
        groups = asked.get("/api/v1/rules").json()["data"]["groups"]
    rules = {rule["name"]: (rule["health"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}
    assert set(rules.values()) == {("ok", "")}
    written = yaml.safe_load((DEPLOYMENT / "alert-rules.yml").read_text(encoding="utf-8"))
    assert set(rules) == {rule["alert"] for group in written["groups"] for rule in group["rules"]}
