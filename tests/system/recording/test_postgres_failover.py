"""PostgreSQL made read-only and writable again under a server: nothing is lost, labels wait, nobody restarts it."""

from collections.abc import Iterator

import httpx
import pytest

from mlplatform.context import create_context
from mlplatform.host.processes import free_port, http_ok
from mlplatform.operations.operator_actions import promote_version
from mlplatform.settings import Settings
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from tests.support.own_database import Own, own_database
from tests.support.platform_processes import World

pytestmark = pytest.mark.postgres


@pytest.fixture
def own() -> Iterator[Own]:
    with own_database() as made:
        yield made


def test_answers_go_on_and_labels_wait_through_a_failover(world: World, own: Own) -> None:
    old = world.context.settings
    context = create_context(
        Settings(_env_file=None, home=old.home, alerts_file=old.alerts_file, database_url=own.url())
    )
    promote_version(context, 1, "moved to PostgreSQL", "test", force=True)
    context.database.close()
    api = f"http://127.0.0.1:{free_port()}"
    server = world.start("api", "serve", "--port", api.rpartition(":")[2], PLATFORM_DATABASE_URL=own.url())
    world.fleet.wait_healthy(server, http_ok(f"{api}/readyz"), 90)
    digits = iter(images_of(load_optdigits().batch))

    def ask() -> str:
        answer = httpx.post(f"{api}/v1/predict", json={"images": [next(digits).tolist()]}, timeout=30)
        assert answer.status_code == 200
        return str(answer.json()["predictions"][0]["id"])

    def label(prediction: str) -> int:
        given = {"prediction_id": prediction, "label": "3", "source": "correction"}
        return httpx.post(f"{api}/v1/feedback", json=given, timeout=30).status_code

    def recorded(prediction: str) -> bool:
        return httpx.get(f"{api}/v1/predictions/{prediction}", timeout=30).status_code == 200

    ids = [ask() for _ in range(5)]
    world.wait("the first rows", lambda: all(map(recorded, ids)))
    own.set_read_only(on=True)
    ids += [ask() for _ in range(20)]
    assert {label(ids[0]) for _ in range(5)} == {503}
    ids += [ask() for _ in range(20)]
    own.set_read_only(on=False)
    world.wait("all rows", lambda: all(map(recorded, ids)))
    world.wait("a label that is taken", lambda: label(ids[0]) < 300)
    assert server.is_running
