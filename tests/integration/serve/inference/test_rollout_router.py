"""A version tried beside the champion on a server: who is answered by whom, what is kept, and what ends it."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from torch import nn

from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.ids import uuid7
from mlplatform.predictions import prediction_counts, shadow_predictions
from mlplatform.promotion import rollouts
from mlplatform.promotion.rollouts import Rollout, RolloutRole
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.rollout_router import bucket_of
from mlplatform.serve.inference.shadow_inference import ShadowInference
from mlplatform.store.tables.predictions import predictions as rows
from mlplatform.store.tables.predictions import shadow_prediction_rows
from monitors.decisions.version_comparison import VersionComparison
from pipelines.answers import ClassReader
from pipelines.data import image_batch
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.errors import ModelUnreadableError
from registry.errors import RegistryUnavailableError
from tests.support.api_server import CLASSES, NAME, Flaky, StockedCatalog, loaded, module, running
from tests.support.platform_world import START, picture
from tests.support.store_rows import count_rows

BODY = {"images": [picture(1).tolist()]}


class Odd(nn.Module):
    """Answers numbers that are none."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 10), float("nan"))


class Broken(nn.Module):
    """Fails."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("it fails")


def trial(role: RolloutRole, share: float = 0.3, version: int = 2) -> Rollout:
    return Rollout(
        uuid7(), NAME, version, 1, role, share, "running", START, "ann", "", 0, VersionComparison().to_json()
    )


def begin(server: ApiServer, role: RolloutRole, share: float = 0.3) -> Rollout:
    made = trial(role, share)
    with server.context.database.write() as connection:
        rollouts.start(connection, made)
    return made


def stocked_with(server: ApiServer, made: LoadedModel | None = None) -> None:
    """What the slot gets when it asks for a version."""
    challenger = made or loaded(2)
    server.rollout_router._load = lambda version: challenger if version == 2 else loaded(version)


@pytest.fixture
def quiet(lite: AppContext) -> ApiServer:
    """A server that answers with version 1, and looks for trials only when told."""
    patient = lite.settings.model_copy(update={"poll_seconds": 600.0})
    context = lite.replace(settings=patient)
    made = build_server(context)
    made.model_slot.swap(loaded(1))
    stocked_with(made)
    return made


@pytest.fixture
def client(quiet: ApiServer) -> Iterator[httpx.Client]:
    after_poll, polled = quiet.reloader._after_poll, threading.Event()

    def once() -> None:
        try:
            after_poll()
        finally:
            polled.set()

    quiet.reloader._after_poll = once
    with running(quiet) as client:
        assert polled.wait(60)  # the reloader has looked once, before there is a trial
        yield client


def ask(client: httpx.Client, name: str = "") -> dict[str, object]:
    answer = client.post("/v1/predict", json=BODY | ({"client_id": name} if name else {}))
    assert answer.status_code == 200, answer.text
    [made] = answer.json()["predictions"]
    found: dict[str, object] = made
    return found


def kept(server: ApiServer) -> dict[str, tuple[int, str, str]]:
    server.recorder.flush(5)
    with server.context.database.read() as connection:
        return {row.id: (row.model_version, row.label, row.role) for row in connection.execute(select(rows))}


def beside(server: ApiServer) -> dict[str, tuple[int, str]]:
    assert server.shadow_inference.wait_until_idle(10)
    with server.context.database.read() as connection:
        return {
            row.prediction_id: (row.model_version, row.label)
            for row in connection.execute(select(shadow_prediction_rows))
        }


def test_a_shadow_is_recorded_under_the_predictions_id_and_never_returned(
    client: httpx.Client, quiet: ApiServer
) -> None:
    begin(quiet, "shadow")
    quiet.rollout_router.refresh()
    made = [ask(client) for _ in range(20)]
    assert {each["label"] for each in made} == {"1"}
    ids = {str(each["id"]) for each in made}
    assert kept(quiet) == dict.fromkeys(ids, (1, "1", "champion"))
    assert beside(quiet) == dict.fromkeys(ids, (2, "2"))
    shown = client.get(f"/v1/predictions/{made[0]['id']}").json()
    assert (shown["role"], [(each["label"], each["model"]["version"]) for each in shown["shadows"]]) == (
        "champion",
        [("2", 2)],
    )
    assert 'mlplatform_shadow{state="recorded"} 20.0' in client.get("/metrics").text


def test_shadow_answers_reach_no_count_of_either_version(client: httpx.Client, quiet: ApiServer) -> None:
    begin(quiet, "shadow")
    quiet.rollout_router.refresh()
    begun = quiet.context.clock()
    for _ in range(5):
        ask(client)
    assert len(kept(quiet)) == len(beside(quiet)) == 5
    with quiet.context.database.read() as connection:
        assert prediction_counts.prediction_total(connection, NAME, 1, begun, quiet.context.clock()) == 5
        assert prediction_counts.last_prediction_minute(connection, NAME, 2) is None
        assert count_rows(connection)["predictions"] == 5


def test_a_canary_answers_its_share_of_clients_always_the_same_ones_and_both_are_compared(
    client: httpx.Client, quiet: ApiServer
) -> None:
    made = begin(quiet, "canary", 0.3)
    quiet.rollout_router.refresh()
    names = [f"till {number}" for number in range(60)]
    first = {name: ask(client, name) for name in names}
    meant = {name for name in names if bucket_of(name, made.id) < 0.3}
    assert 5 < len(meant) < 35
    assert {name for name, each in first.items() if each["label"] == "2"} == meant
    assert {name: ask(client, name)["model"] for name in names} == {name: each["model"] for name, each in first.items()}
    for key, (version, label, role) in kept(quiet).items():
        assert (label, role) == (str(version), "canary" if version == 2 else "champion")
        assert beside(quiet)[key] == ((1, "1") if version == 2 else (2, "2"))


def test_without_a_client_the_request_decides_so_that_the_share_holds(client: httpx.Client, quiet: ApiServer) -> None:
    begin(quiet, "canary", 0.5)
    quiet.rollout_router.refresh()
    labels = [ask(client)["label"] for _ in range(60)]
    assert 10 < labels.count("2") < 50


def test_a_place_is_even_and_drawn_anew_for_each_trial() -> None:
    places = np.asarray([bucket_of(f"client {number}", "a") for number in range(2_000)])
    assert abs((places < 0.1).mean() - 0.1) < 0.03
    assert places[0] != bucket_of("client 0", "b")


def test_a_version_may_be_asked_for_by_number_while_it_is_a_canary_only(client: httpx.Client, quiet: ApiServer) -> None:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}
    path = "/v2/models/digits/versions/{}/infer"
    made = begin(quiet, "canary", 0.01)
    quiet.rollout_router.refresh()
    for version in (1, 2):
        answer = client.post(path.format(version), json={"inputs": [tensor]}).json()
        assert answer["model_version"] == str(version)
        assert client.get(f"/v2/models/digits/versions/{version}/ready").status_code == 200
    with quiet.context.database.write() as connection:
        rollouts.end_rollout(connection, made, "stopped", "ann", "", START)
    begin(quiet, "shadow")
    quiet.rollout_router.refresh()
    assert client.post(path.format(2), json={"inputs": [tensor]}).status_code == 404
    assert client.get("/v2/models/digits/versions/2/ready").status_code == 404


@pytest.mark.parametrize("kind", [Odd, Broken])
def test_where_a_canary_fails_the_champion_answers_and_the_trial_ends(
    client: httpx.Client, quiet: ApiServer, kind: type[nn.Module]
) -> None:
    predictor = TorchEngine(build_exportable(kind()), CLASSES, 28, 28)
    stocked_with(quiet, LoadedModel(NAME, 2, predictor, START))
    begin(quiet, "canary", 0.99)
    quiet.rollout_router.refresh()
    assert {ask(client)["label"] for _ in range(20)} == {"1"}
    quiet.rollout_router.refresh()
    assert quiet.rollout_router.challenger is None
    with quiet.context.database.read() as connection:
        over = rollouts.latest_rollout(connection, NAME)
    assert over is not None
    assert (over.state, over.ended_by) == ("failed", "server/trial")
    assert "failed to answer" in over.ended_reason
    assert {role for _, _, role in kept(quiet).values()} == {"champion"}


def test_a_version_that_cannot_be_loaded_ends_its_trial_and_one_out_of_reach_is_waited_for(quiet: ApiServer) -> None:
    def failing_with(error: Exception) -> Callable[[int], LoadedModel]:
        def load(version: int) -> LoadedModel:
            raise error

        return load

    def corrupt(version: int) -> LoadedModel:
        raise ValueError("no such file")

    begin(quiet, "shadow")
    passing = (
        RegistryUnavailableError("the registry is away"),
        OSError(errno.EMFILE, "Too many open files"),
        ModelUnreadableError("the model cannot be read now"),
        MemoryError(),
    )
    for error in passing:
        quiet.rollout_router._load = failing_with(error)
        quiet.rollout_router.refresh()
        with quiet.context.database.read() as connection:
            assert rollouts.running_rollout(connection, NAME) is not None
    quiet.rollout_router._load = corrupt
    quiet.rollout_router.refresh()
    with quiet.context.database.read() as connection:
        over = rollouts.latest_rollout(connection, NAME)
    assert over is not None
    assert (over.state, over.ended_reason) == ("failed", "it cannot be loaded: no such file")


def test_the_challenger_is_let_go_when_its_trial_ends_or_the_champion_changes(quiet: ApiServer) -> None:
    made = begin(quiet, "shadow")

    def held() -> int | None:
        quiet.rollout_router.refresh()
        tried = quiet.rollout_router.challenger
        return None if tried is None else tried.model.version

    assert held() == 2
    quiet.model_slot.swap(loaded(3))
    assert held() is None
    quiet.model_slot.swap(loaded(1))
    assert held() == 2
    with quiet.context.database.write() as connection:
        rollouts.end_rollout(connection, made, "stopped", "ann", "", START)
    assert held() is None


def test_a_server_loads_the_version_of_a_trial_from_the_registry_by_itself(
    lite: AppContext, stocked: StockedCatalog, tmp_path: object
) -> None:
    from pathlib import Path

    for version in (1, 2):
        path = Path(str(tmp_path)) / f"{version}.pt2"
        save_exportable(module(version), path)
        stocked.files[version] = path.read_bytes()
    stocked.set_alias(NAME, "champion", 1)
    quick = lite.replace(settings=lite.settings.model_copy(update={"poll_seconds": 0.05}), catalog=stocked)
    server = build_server(quick)
    begin(server, "canary", 0.99)
    with running(server):
        deadline = time.monotonic() + 30
        while server.rollout_router.challenger is None and time.monotonic() < deadline:
            time.sleep(0.02)
        tried = server.rollout_router.challenger
    assert tried is not None
    assert (tried.model.version, tried.rollout.role) == (2, "canary")


class Gate:
    """A predictor that waits until it may go on."""

    def __init__(self) -> None:
        self.reader, self.open, self.entered = ClassReader(CLASSES), threading.Event(), threading.Event()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.entered.set()
        assert self.open.wait(20)
        return np.full((len(images), 10), 0.1, dtype=np.float32)


def test_a_shadow_that_hangs_holds_up_no_answer_and_what_does_not_fit_is_counted(
    client: httpx.Client, quiet: ApiServer
) -> None:
    gate = Gate()
    stocked_with(quiet, LoadedModel(NAME, 2, gate, START))  # type: ignore[arg-type]
    begin(quiet, "shadow")
    quiet.shadow_inference._max_queued = 10
    quiet.rollout_router.refresh()
    ask(client)
    assert gate.entered.wait(10)
    for _ in range(25):
        assert ask(client)["label"] == "1"
    counts = quiet.shadow_inference.counts()
    gate.open.set()
    assert (counts["queued"], counts["dropped"]) == (10, 15)
    assert quiet.shadow_inference.wait_until_idle(10)
    assert quiet.shadow_inference.counts()["recorded"] == 11


def test_a_store_that_is_away_costs_shadow_answers_and_no_prediction(
    client: httpx.Client, quiet: ApiServer, flaky: Flaky
) -> None:
    begin(quiet, "shadow")
    quiet.rollout_router.refresh()
    flaky.away = True
    for _ in range(3):
        ask(client)
    assert quiet.shadow_inference.wait_until_idle(10)
    assert quiet.shadow_inference.counts()["dropped"] == 3
    flaky.away = False
    assert len(kept(quiet)) == 3


def test_a_closed_shadow_writes_what_it_has_and_takes_no_more(quiet: ApiServer) -> None:
    begin(quiet, "shadow")
    quiet.rollout_router.refresh()
    shadow = ShadowInference(quiet.context, quiet.rollout_router)
    shadow.start()
    images = np.stack([picture(1)])
    shadow.enqueue(loaded(1), "champion", ["a"], image_batch(images))
    deadline = time.monotonic() + 10
    while shadow.counts()["queued"] and time.monotonic() < deadline:
        time.sleep(0.01)
    shadow.close()
    shadow.enqueue(loaded(1), "champion", ["b"], image_batch(images))
    with quiet.context.database.read() as connection:
        assert [each.label for each in shadow_predictions.list_by_prediction(connection, "a")] == ["2"]
    assert dict(shadow.counts()) == {"recorded": 1, "queued": 0, "dropped": 1, "failed": 0}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == os.getpriority(os.PRIO_PROCESS, 0)


def test_trials_are_begun_and_stopped_over_http(client: httpx.Client, quiet: ApiServer) -> None:
    from tests.support.monitoring_world import promote

    promote(quiet.context, 1)
    wish = {"share": 0.2, "reason": "to see", "requested_by": "ann"}
    assert "gate's verdict" in client.post("/v1/models/2/canary", json=wish).json()["detail"]
    begun = client.post("/v1/models/2/canary", json=wish | {"force": True})
    assert (begun.status_code, begun.json()["role"], begun.json()["beside"]) == (201, "canary", 1)
    assert client.post("/v1/models/3/shadow", json={}).status_code == 409
    assert client.delete("/v1/models/2/shadow").status_code == 404
    over = client.delete("/v1/models/2/canary")
    assert (over.status_code, over.json()["state"]) == (200, "stopped")
    assert client.post("/v1/models/3/shadow", json={}).json()["role"] == "shadow"
    assert client.delete("/v1/models/3/shadow").json()["version"] == 3
    for body in ({"share": 0}, {"share": 1}, {"share": 0.1, "more": 1}):
        assert client.post("/v1/models/2/canary", json=body).status_code == 422
    assert client.post("/v1/models/77/shadow", json={}).status_code == 404


def test_a_canary_asked_for_by_its_version_is_answered_by_no_other(client: httpx.Client, quiet: ApiServer) -> None:
    predictor = TorchEngine(build_exportable(Broken()), CLASSES, 28, 28)
    stocked_with(quiet, LoadedModel(NAME, 2, predictor, START))
    begin(quiet, "canary", 0.01)
    quiet.rollout_router.refresh()
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}
    answer = client.post("/v2/models/digits/versions/2/infer", json={"inputs": [tensor]})
    assert (answer.status_code, "version 2 failed to answer" in answer.json()["error"]) == (503, True)
    assert kept(quiet) == {}


def test_the_moment_another_champion_serves_nothing_is_tried_beside_it(client: httpx.Client, quiet: ApiServer) -> None:
    begin(quiet, "canary", 0.99)
    quiet.rollout_router.refresh()
    quiet.model_slot.swap(loaded(3))
    assert {ask(client)["label"] for _ in range(10)} == {"3"}
    assert beside(quiet) == {}


def test_an_end_that_the_store_did_not_take_is_written_later_and_the_version_stays_out(
    client: httpx.Client, quiet: ApiServer, flaky: Flaky
) -> None:
    predictor = TorchEngine(build_exportable(Broken()), CLASSES, 28, 28)
    stocked_with(quiet, LoadedModel(NAME, 2, predictor, START))
    begin(quiet, "canary", 0.99)
    quiet.rollout_router.refresh()
    for _ in range(5):
        ask(client)
    quiet.recorder.flush(5)
    write = flaky.write

    def away() -> None:
        raise StoreUnavailableError("the database is away")

    flaky.write = away  # type: ignore[assignment,method-assign]
    with pytest.raises(StoreUnavailableError):
        quiet.rollout_router.refresh()
    assert quiet.rollout_router.challenger is None
    flaky.write = write  # type: ignore[method-assign]
    quiet.rollout_router.refresh()
    with quiet.context.database.read() as connection:
        over = rollouts.latest_rollout(connection, NAME)
    assert over is not None
    assert (over.state, quiet.rollout_router.challenger) == ("failed", None)


def test_champions_swapped_under_load_while_a_canary_runs_fail_no_request(
    client: httpx.Client, quiet: ApiServer
) -> None:
    begin(quiet, "canary", 0.5)
    quiet.rollout_router.refresh()
    done = threading.Event()
    wrong: list[str] = []

    def send() -> None:
        while not done.is_set():
            answer = client.post("/v1/predict", json=BODY)
            if answer.status_code != 200:
                wrong.append(answer.text)
                continue
            [made] = answer.json()["predictions"]
            if made["label"] != str(made["model"]["version"]):
                wrong.append(answer.text)

    senders = [threading.Thread(target=send) for _ in range(4)]
    for one in senders:
        one.start()
    for number in range(30):
        quiet.model_slot.swap(loaded((3, 1)[number % 2]))
        quiet.rollout_router.refresh()
        time.sleep(0.02)
    done.set()
    for one in senders:
        one.join(20)
    assert wrong == []
    versions = {version for version, _, _ in kept(quiet).values()}
    assert versions == {1, 2, 3}


def test_a_busy_server_shows_nothing_to_the_shadow_and_what_waits_too_long_is_dropped(quiet: ApiServer) -> None:
    begin(quiet, "shadow")
    quiet.rollout_router.refresh()
    busy = [True]
    shadow = ShadowInference(quiet.context, quiet.rollout_router, lambda: busy[0])
    shadow._max_wait_seconds = 0.3
    images = np.stack([picture(1)] * 3)
    shadow.enqueue(loaded(1), "champion", ["a", "b", "c"], image_batch(images))
    shadow.start()
    deadline = time.monotonic() + 10
    while shadow.counts()["dropped"] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert dict(shadow.counts()) == {"recorded": 0, "queued": 0, "dropped": 3, "failed": 0}
    busy[0] = False
    shadow.enqueue(loaded(1), "champion", ["d"], image_batch(images[:1]))
    assert shadow.wait_until_idle(10)
    shadow.close()
    assert dict(shadow.counts()) == {"recorded": 1, "queued": 0, "dropped": 3, "failed": 0}


def test_requests_under_way_are_counted_and_none_is_left_after_an_error(client: httpx.Client, quiet: ApiServer) -> None:
    ask(client)
    assert client.post("/v1/predict", json={"images": []}).status_code == 422
    assert quiet.in_flight.count == 0
    assert 'mlplatform_queue_depth{queue="answers"} 0.0' in client.get("/metrics").text
