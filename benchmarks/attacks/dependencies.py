"""Attacks by way of what the server depends on: its database, locked by somebody else while many ask."""

import json
import threading
import time
from collections.abc import Callable
from typing import Final

from benchmarks.attacks.target import Target, head
from mlplatform.store.database import Database

LABEL: Final = json.dumps({"prediction_id": "00000000-0000-7000-8000-000000000000", "label": "3"}).encode()


def locked_database(target: Target) -> None:
    """The write lock is held all the time, and 60 clients wait for it with labels."""

    def hold() -> None:
        database = Database(f"sqlite:///{target.home / 'platform.db'}")
        with database.write():
            target.rest()
        database.close()

    holder = threading.Thread(target=hold)
    holder.start()
    time.sleep(0.2)
    target.again_and_again(lambda: target.post("/v1/feedback", LABEL), threads=60)
    holder.join()


def many_pages(target: Target) -> None:
    """60 clients reload what costs the database most."""
    target.again_and_again(lambda: target.say([head("GET", "/", {})]), threads=60)


def many_probes(target: Target) -> None:
    """60 clients ask for all metrics."""
    target.again_and_again(lambda: target.say([head("GET", "/metrics", {})]), threads=60)


ATTACKS: Final[dict[str, Callable[[Target], None]]] = {
    "locked_database": locked_database,
    "many_pages": many_pages,
    "many_probes": many_probes,
}
