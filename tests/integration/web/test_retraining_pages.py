"""The pages of retrainings: what they show of the queue, of one that runs and of one that ended, and their forms."""

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import Literal

import httpx
import pytest

from mlplatform.audit.audit_entries import recent_entries
from mlplatform.context import AppContext
from mlplatform.retraining import retraining_endings, retraining_limits, retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.retraining.retraining_queue import Retraining
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.blocking_routes import ConcurrencyLimiter
from registry.gate.checks import GateCheck
from registry.gate.verdict import Verdict
from tests.support.api_server import loaded, problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.monitoring_world import all_retrainings, with_rules
from tests.support.page_forms import form_token, holder
from tests.support.platform_world import prediction, recorded
from tests.support.stub_tracking import KeptTexts

HOSTILE = "<script>alert(1)</script>"
OWNER = "host:1:aaaaaa"
NO_LIMITS = RetrainingLimits(timedelta(0), 100)
USAGE = {"given": 1240, "trained": 880, "judged": 210, "set_aside": {"conflict": 31, HOSTILE: 2}, "sentence": "Learnt."}
VERDICT = asdict(Verdict("keep", (f"slower {HOSTILE}",), (GateCheck("latency", False, "9 ms against 2 ms"),)))


@pytest.fixture
def tracking() -> KeptTexts:
    return KeptTexts({})


@pytest.fixture
def server(lite: AppContext, tracking: KeptTexts) -> ApiServer:
    made = build_server(with_rules(lite.replace(tracking=tracking)))
    made.model_slot.swap(loaded(1))
    return made


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with running(server) as client:
        yield client


def asked(server: ApiServer, **changes: object) -> str:
    """A queued retraining."""
    now = server.context.clock()
    wish = {"pipeline": "digits", "reason": f"dull {HOSTILE}", "trigger": "manual", "requested_by": HOSTILE, "now": now}
    with server.context.database.write() as connection:
        return retraining_queue.request(connection, **(wish | changes))[0]  # type: ignore[arg-type]


def started(server: ApiServer, **changes: object) -> str:
    """A retraining that runs, with a run of its own."""
    retraining_id = asked(server, **changes)
    with server.context.database.write() as connection:
        assert retraining_queue.claim(connection, "digits", OWNER, NO_LIMITS, server.context.clock()) is not None
        retraining_queue.record_run(connection, retraining_id, OWNER, "run-7")
    return retraining_id


def the_only(server: ApiServer) -> Retraining:
    [row] = all_retrainings(server.context)
    return row


def actions(server: ApiServer) -> list[tuple[str, str, str]]:
    with server.context.database.read() as connection:
        return [(each["actor"], each["action"], each["subject"]) for each in recent_entries(connection)]


def test_a_person_asks_for_a_retraining_with_a_reason(server: ApiServer, client: httpx.Client) -> None:
    assert "None yet" in client.get("/retrainings").text
    form = {"reason": f"new scanner {HOSTILE}", "dry_run": "yes"} | form_token(server)
    answer = client.post("/retrainings", data=form)
    row = the_only(server)
    assert (answer.status_code, answer.headers["location"]) == (303, f"./retrainings/{row.id}")
    assert (row.state, row.trigger, row.requested_by, row.dry_run) == ("queued", "manual", "dashboard", True)
    assert ("dashboard", "ask-retrain", f"retraining/{row.id}") in actions(server)
    for path in ("/retrainings", f"/retrainings/{row.id}"):
        page = client.get(path).text
        assert "new scanner &lt;script&gt;" in page
        assert "waits for the watcher to start it" in page
        assert HOSTILE not in page
    assert "No watcher is on duty" in client.get("/retrainings").text


def test_a_second_wish_joins_the_one_that_is_queued(server: ApiServer, client: httpx.Client) -> None:
    first = asked(server, dry_run=True)
    assert "It joins the one that is queued" in client.get("/retrainings").text
    client.post("/retrainings", data={"reason": "in earnest"} | form_token(server))
    row = the_only(server)
    assert (row.id, row.dry_run) == (first, False)
    page = client.get(f"/retrainings/{first}").text
    assert "in earnest" in page
    assert "dry run</span>" not in page


def test_one_that_waits_says_for_what_and_until_when(server: ApiServer, client: httpx.Client) -> None:
    context = server.context
    ended = started(server)
    with context.database.write() as connection:
        retraining_endings.finish(connection, ended, OWNER, "failed", context.clock(), error=f"no rows {HOSTILE}")
    waiting = asked(server, trigger="alert")
    with context.database.write() as connection:
        retraining_limits.record_hold(connection, waiting, {"step": "waiting for labels", "labels": 7, "needed": 1200})
    page = client.get(f"/retrainings/{waiting}").text
    assert "waits for labels: 7 of 1,200; held: the cooldown after the last retraining, until 2026-" in page
    assert "no rows &lt;script&gt;" in client.get(f"/retrainings/{ended}").text


def test_one_that_runs_shows_its_epoch_its_curve_and_what_it_learns_from(
    server: ApiServer, client: httpx.Client, tracking: KeptTexts
) -> None:
    retraining_id = started(server)
    tracking.histories["run-7"] = {"train_loss": [(1, 0.8), (2, 0.4)], "validation_loss": [(1, 0.9)], "rate": [(1, 3)]}
    progress = {"step": "training", "epoch": 2, "epochs": 5, "validation_accuracy": 0.875, "label_use": USAGE}
    with server.context.database.write() as connection:
        retraining_queue.record_heartbeat(connection, retraining_id, OWNER, server.context.clock(), progress)
    page = client.get(f"/retrainings/{retraining_id}").text
    assert "Training, epoch 2 of 5, validation accuracy 87.5 %" in page
    assert '<progress max="5" value="2"' in page
    assert "Loss: train loss 0.4 at step 2; validation loss 0.9 at step 1" in page
    assert re.findall(r'class="(?:ok|pending)">([^<]*)<', page) == [
        "to train on",
        "held back to judge by",
        "set aside: conflict",
        "set aside: &lt;script&gt;alert(1)&lt;/script&gt;",
    ]
    assert "It is to learn from 880 of 1,240 labels and to be judged on 210.</p>" in page
    assert "people who gave them contradict each other" in page
    assert HOSTILE not in page


def test_one_that_ended_shows_the_gates_table_and_its_version(server: ApiServer, client: httpx.Client) -> None:
    retraining_id = started(server)
    end = partial(retraining_endings.finish, owner=OWNER, state="succeeded", now=server.context.clock())
    with server.context.database.write() as connection:
        end(connection, retraining_id, candidate_version=2, verdict=VERDICT | {"labels": USAGE})
    page = client.get(f"/retrainings/{retraining_id}").text
    assert re.findall(r'data-name="(?:check|result|finding)"[^>]*>([^<]*)<', page) == [
        "latency",
        "failed",
        "9 ms against 2 ms",
    ]
    assert "The gate's verdict is keep." in page
    assert "slower &lt;script&gt;" in page
    assert '<a href="../versions/2">version 2</a>' in page
    assert "Its run has no loss by epoch." in page
    assert "<p>Learnt.</p>" in page
    assert 'class="ok">trained on<' in page
    assert 'name="confirm"' not in page, "what ended cannot be cancelled"
    assert HOSTILE not in page


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_one_that_ended_without_a_verdict_learnt_from_nothing(
    server: ApiServer, client: httpx.Client, state: Literal["failed", "cancelled"]
) -> None:
    retraining_id, now = started(server), server.context.clock()
    with server.context.database.write() as connection:
        retraining_queue.record_heartbeat(connection, retraining_id, OWNER, now, {"label_use": USAGE})
        if state == "failed":
            retraining_endings.finish(connection, retraining_id, owner=OWNER, state="failed", now=now, error="no disk")
    if state == "cancelled":
        form = {"confirm": "yes"} | form_token(server)
        assert client.post(f"/retrainings/{retraining_id}/cancel", data=form).status_code == 303
    page = client.get(f"/retrainings/{retraining_id}").text
    assert "It was to learn from 880 of 1,240 labels and to be judged on 210. No verdict came of it." in page
    assert ">to train on<" in page


def test_mlflow_being_away_takes_the_curve_alone(server: ApiServer, client: httpx.Client, tracking: KeptTexts) -> None:
    retraining_id, tracking.away = started(server), True
    page = client.get(f"/retrainings/{retraining_id}")
    assert page.status_code == 200
    assert "The loss curve cannot be read from MLflow now." in page.text


def test_pages_that_wait_for_mlflow_keep_no_label_and_no_other_page_waiting(
    lite: AppContext, tracking: KeptTexts
) -> None:
    held = ConcurrencyLimiter(0, 0.05)  # as if silent readings held all its threads
    server = replace(build_server(with_rules(lite.replace(tracking=tracking))), slow_page_limiter=held)
    server.model_slot.swap(loaded(1))
    [key] = recorded(lite.database, prediction(lite.clock()))
    label = {"prediction_id": key, "label": "3", "source": "delayed"}
    with running(server) as client:
        for path in ("/", "/v1/models", "/retrainings", "/versions", "/rules"):
            assert client.get(path).status_code == 503
        assert client.get("/alerts").status_code == 200
        assert client.post("/v1/feedback", json=label).json()[0]["outcome"] == "recorded"


def test_a_curve_is_read_once_for_many_looks(server: ApiServer, client: httpx.Client, tracking: KeptTexts) -> None:
    retraining_id, tracking.away = started(server), True
    client.get(f"/retrainings/{retraining_id}")
    tracking.away = False
    assert "cannot be read" in client.get(f"/retrainings/{retraining_id}").text, "MLflow is not asked again at once"


def test_the_run_is_linked_where_mlflow_has_a_public_address(lite: AppContext, tracking: KeptTexts) -> None:
    settings = lite.settings.model_copy(update={"mlflow_public_url": "https://mlflow.example/"})
    server = build_server(with_rules(lite.replace(settings=settings, tracking=tracking)))
    server.model_slot.swap(loaded(1))
    retraining_id = started(server)
    with running(server) as client:
        assert 'href="https://mlflow.example/#/runs/run-7"' in client.get(f"/retrainings/{retraining_id}").text


def test_a_retraining_is_cancelled_once_and_with_a_tick(server: ApiServer, client: httpx.Client) -> None:
    retraining_id = started(server)
    path = f"/retrainings/{retraining_id}/cancel"
    assert "tick the box" in problem(client.post(path, data={"confirm": "no"} | form_token(server)), 422)
    assert the_only(server).state == "running"
    form = {"confirm": "yes"} | form_token(server)
    answer = client.post(path, data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"../{retraining_id}")
    assert (the_only(server).state, the_only(server).error) == ("cancelled", "cancelled by dashboard")
    assert ("dashboard", "cancel", f"retraining/{retraining_id}") in actions(server)
    assert "cannot be cancelled" in problem(client.post(path, data=form), 409)


@pytest.mark.parametrize(
    ("form", "told"),
    [({"reason": "  "}, "no reason was given"), ({"reason": "r" * 501}, "501 characters"), ({}, "no reason was given")],
)
def test_a_wish_without_a_reason_queues_nothing(
    server: ApiServer, client: httpx.Client, form: dict[str, str], told: str
) -> None:
    assert told in problem(client.post("/retrainings", data=form | form_token(server)), 422)
    assert all_retrainings(server.context) == []


def test_an_unknown_retraining_is_not_found(client: httpx.Client) -> None:
    assert "is not known" in problem(client.get("/retrainings/nobody"), 404)


def test_a_key_that_may_only_read_starts_and_cancels_nothing(lite: AppContext, tracking: KeptTexts) -> None:
    server = guarded(with_rules(lite.replace(tracking=tracking)))
    text, label = key(server, "audit"), key(server, "review", name="eve")
    retraining_id = started(server)
    with running(server) as client:
        token = form_token(server, holder(text))
        assert client.get("/retrainings", headers=shown(text, "basic")).status_code == 200
        assert client.get("/retrainings", headers=shown(label, "basic")).status_code == 403
        for path in ("/retrainings", f"/retrainings/{retraining_id}/cancel"):
            refused = client.post(path, data=token | {"reason": "r", "confirm": "yes"}, headers=shown(text, "basic"))
            assert refused.status_code == 403
    assert the_only(server).state == "running"
