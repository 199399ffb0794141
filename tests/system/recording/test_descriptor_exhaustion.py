"""A server without descriptors, with its recording process killed, or whose database file is replaced loses nothing."""

import base64
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from mlplatform.host.processes import ManagedProcess, free_port, http_ok
from mlplatform.operations.local_stack import platform_command
from mlplatform.recording.spool.directory import inspect_spools
from mlplatform.recording.spool.quarantined_rows import RowQuarantine
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.grey_png import encode_png
from tests.support.platform_processes import World
from tests.support.storm import settled

DESCRIPTORS = 256
ANSWERS = 200
SPACE_KB = 8_000_000


def serve(world: World, port: int, name: str = "api") -> ManagedProcess:
    """A server that may have few descriptors and not all of the memory, ready to answer."""
    limited = f'ulimit -n {DESCRIPTORS}; ulimit -v {SPACE_KB}; exec "$@"'
    command = ["sh", "-c", limited, "sh", *platform_command("serve", "--port", str(port))]
    child = world.fleet.start(f"{name}-{port}", command, {**world.env, "PLATFORM_LOG_LEVEL": "warning"})
    world.wait("the server is ready", http_ok(f"http://127.0.0.1:{port}/readyz"))
    return child


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[int]:
    """So many connections that ask nothing, as far as the server takes them."""
    held: list[socket.socket] = []
    try:
        with suppress(OSError):
            while len(held) < count:
                held.append(socket.create_connection(("127.0.0.1", port), timeout=2))
        yield len(held)
    finally:
        for each in held:
            each.close()


def ask(client: httpx.Client, port: int, number: int) -> list[str]:
    """The ids of an answer; none where the server gave none."""
    image = base64.b64encode(encode_png(images_of(load_optdigits().batch)[number])).decode()
    try:
        told = client.post(f"http://127.0.0.1:{port}/v1/predict", json={"images": [image]})
    except httpx.HTTPError:
        return []
    return [each["id"] for each in told.json()["predictions"]] if told.status_code == 200 else []


def recorder_of(port: int) -> dict[str, Any]:
    counts: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).json()["recorder"]
    return counts


def kept(database: Database, ids: list[str]) -> int:
    with database.read() as connection:
        query = select(func.count()).select_from(predictions).where(predictions.c.id.in_(ids))
        return int(connection.scalar(query) or 0)


def nothing_is_left(world: World) -> None:
    settled(world.context.settings.spool_folder, 60)
    assert RowQuarantine(world.context.settings.spool_folder).list_files() == []


def writing_process(server: ManagedProcess) -> int | None:
    """The process that writes for a server."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children += (thread / "children").read_text().split()
    return int(children[0]) if children else None


def test_idle_connections_that_take_all_descriptors_cost_no_answer(world: World) -> None:
    port = free_port()
    serve(world, port)
    ids: list[str] = []
    with httpx.Client(timeout=20) as client:
        ids += ask(client, port, 0)
        with idle_connections(port, DESCRIPTORS):
            for number in range(ANSWERS):
                ids += ask(client, port, number % 50)
        for number in range(50):
            ids += ask(client, port, number)
    assert len(ids) > 50
    nothing_is_left(world)
    assert kept(world.context.database, ids) == len(ids) == len(set(ids))
    counts = recorder_of(port)
    assert (counts["dropped"], counts["failed"], counts["damaged"], counts["set_aside"]) == (0, 0, 0, 0)


def test_a_server_whose_writing_process_is_killed_while_descriptors_are_short_loses_nothing(world: World) -> None:
    port = free_port()
    server = serve(world, port)
    ids: list[str] = []
    ending = threading.Event()

    def kill() -> None:
        while not ending.wait(0.5):
            with suppress(ProcessLookupError, FileNotFoundError):
                if (pid := writing_process(server)) is not None:
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with httpx.Client(timeout=20) as client:
            ids += ask(client, port, 0)
            with idle_connections(port, DESCRIPTORS):
                for number in range(ANSWERS):
                    ids += ask(client, port, number % 50)
    finally:
        ending.set()
        killer.join()
    assert len(ids) > 50
    nothing_is_left(world)
    assert kept(world.context.database, ids) == len(ids)


def test_a_replaced_database_file_is_noticed_and_all_answers_are_in_the_new_one_after_a_restart(world: World) -> None:
    port, path = free_port(), world.context.settings.home / "platform.db"
    world.context.database.close()
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    server = serve(world, port)
    with httpx.Client(timeout=20) as client:
        before = [key for number in range(20) for key in ask(client, port, number)]
        world.wait("they are recorded", lambda: recorder_of(port)["queued"] == 0)
        for ending in ("-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        backup.replace(path)
        world.wait("it is noticed by nobody's asking", lambda: recorder_of(port)["database_replaced"] == 1, 30)
        after = [key for number in range(ANSWERS) for key in ask(client, port, number % 50)]
        assert len(after) == ANSWERS, "answers go on"
        assert recorder_of(port)["queued"] == ANSWERS
        label = client.post(f"http://127.0.0.1:{port}/v1/feedback", json={"prediction_id": before[0], "label": "3"})
        assert label.status_code == 503, "a label is not taken either where nobody would find it"
        assert client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    found = world.fleet.start("doctor", platform_command("doctor", "--json"), world.env)
    found.process.wait(60)
    assert "removed or replaced" in found.log.read_text()
    world.kill(server)
    serve(world, port, "again")
    settled(world.context.settings.spool_folder, 60)
    restored = Database(world.context.settings.store_url)  # as a process that starts now opens it
    assert kept(restored, after) == ANSWERS
    assert kept(restored, before) == 0, "these are in the old file, as the backup was made before them"
    assert recorder_of(port)["database_replaced"] == 0
    assert [seen.rows for seen in inspect_spools(world.context.settings.spool_folder) if seen.rows] == []
