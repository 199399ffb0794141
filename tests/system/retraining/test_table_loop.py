"""The whole loop with a table of a stranger's file: traffic goes bad, and the server answers with a better version.

Server and watcher run in threads of the test; the training that the watcher starts is a process, as in production.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest

from mlplatform.alerting import alert_records
from mlplatform.context import AppContext
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_queue
from mlplatform.serve.api_server import build_server
from mlplatform.watcher.scheduler import create_watcher
from tests.support.api_server import running
from tests.support.churn_world import as_rows, churn_world, make_customers
from tests.support.watcher_process import without_evidently

CLIENTS = 8
"""So many callers, since the labels of a single one are bounded."""


@contextmanager
def watching(context: AppContext) -> Iterator[None]:
    """A watcher in a thread, stopped at the end."""
    watcher = create_watcher(context, without_evidently)
    thread = threading.Thread(target=watcher.run, name="watcher")
    thread.start()
    try:
        yield
    finally:
        watcher.stop()
        thread.join(60)
    assert not thread.is_alive()


def wait(what: str, happened: Callable[[], object], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.2)


def ask(client: httpx.Client, frame: pd.DataFrame) -> list[str]:
    """One row a request, with the customer as reference; returns the answers."""
    answers = []
    for number, (row, customer) in enumerate(zip(as_rows(frame), frame["customer_id"], strict=True)):
        body = {"rows": [row], "references": [customer], "client_id": f"shop {number % CLIENTS}"}
        response = client.post("/v1/predict", json=body)
        assert response.status_code == 200, response.text
        answers += [answer["label"] for answer in response.json()["predictions"]]
    return answers


def tell(client: httpx.Client, frame: pd.DataFrame) -> None:
    """What became of the customers, by reference."""
    labels = [
        {"reference": customer, "label": churned, "source": "delayed"}
        for customer, churned in zip(frame["customer_id"], frame["churned"], strict=True)
    ]
    response = client.post("/v1/feedback", json={"feedback": labels})
    assert response.status_code == 200, response.text


def right(answers: list[str], frame: pd.DataFrame) -> float:
    """The share of right answers."""
    return float((frame["churned"].to_numpy() == answers).mean())


@pytest.mark.slow
def test_bad_traffic_of_a_table_ends_in_a_better_version_that_serves(
    tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 14 months: 85 days of golden rows rule out a loss that 44 days leave open.
    world = churn_world(tmp_path, mlflow_template, monkeypatch, count=12_000, first="2025-06-01")
    context, watched = world.context(), world.context()
    assert world.train(context) == 1
    before = make_customers(150, "2026-07-01", "2026-07-31", seed=5)
    before["customer_id"] = "early " + before["customer_id"]
    after = make_customers(900, "2026-08-01", "2026-08-31", seed=6)
    bad, later = after.iloc[:700], after.iloc[700:]
    with running(build_server(context)) as client:
        wait("version 1", lambda: client.get("/readyz").status_code == 200)
        assert right(ask(client, before), before) > 0.88
        assert right(ask(client, bad), bad) < 0.8
        share_before = right(ask(client, later), later)
        tell(client, before)
        tell(client, bad)
        with watching(watched):

            def closed() -> list[retraining_queue.Retraining]:
                with context.database.read() as connection:
                    rows = retraining_queue.recent(connection)
                return [row for row in rows if row.state not in retraining_queue.OPEN_STATES]

            wait("a retraining", closed)
            [done] = closed()
            assert done.state == "succeeded", done.error
            assert done.promoted, (done.verdict or {}).get("reasons")
            wait("version 2", lambda: client.get("/readyz").json()["model"]["version"] == 2)
        share_after = right(ask(client, later), later)
        assert share_after > share_before
        with context.database.read() as connection:
            alerts = alert_records.list_alerts(connection, include_closed=True)
            history = promotion_history.promotion_history(connection, "churn")
    fired = {alert.rule: alert for alert in alerts}
    assert done.alert_id == fired["accuracy-drop"].id
    assert sorted(move.to_version for move in history) == [1, 2]
    context.database.close()
    watched.database.close()
