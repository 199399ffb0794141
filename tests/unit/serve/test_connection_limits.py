"""Connections share their bounds so that whoever uses least goes first; clients here are fakes, and so is the clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mlplatform.serve.http1.connection_limits import (
    CONTENTION_GRACE_SECONDS,
    MAX_BUFFER_WAIT_SECONDS,
    MIN_CONNECTIONS,
    ConnectionLimits,
    ConnectionTable,
    ThroughputWindow,
    limits_from_settings,
)
from mlplatform.settings import Settings


class Loop:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        self.due.append((self.now + delay, lambda: callback(*args)))

    def pass_(self, seconds: float) -> None:
        until = self.now + seconds
        while self.due and min(self.due)[0] <= until:
            self.due.sort(key=lambda each: each[0])
            self.now, call = self.due.pop(0)
            call()
        self.now = until


@dataclass(eq=False)
class Client:
    """A connection that notes what is done to it."""

    connections: ConnectionTable
    address: str = "10.0.0.1"
    used_at: float | None = 0.0
    waiting: int = 0
    moved: float = 0.0
    done: list[str] = field(default_factory=list)
    looks: int = 0

    def check_timeouts(self, now: float, elapsed: float) -> None:
        self.looks += 1

    def last_used_at(self) -> float | None:
        return self.used_at

    def evict(self) -> None:
        self.done.append("evicted")

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        self.done.append(f"refused {status}")

    def unsent_bytes(self) -> int:
        return self.waiting

    def stalled_since(self) -> float:
        return self.moved

    def abort(self) -> None:
        self.done.append("dropped")
        self.connections.remove(self)

    def abandon_incomplete(self) -> None:
        self.done.append("ended")


@dataclass(eq=False)
class Upload:
    """A body that notes whether it is read on."""

    content_length: int | None = 10_000_000
    received_bytes: int = 100_000
    last_progress_at: float = 100.0
    buffered_bytes: int = 0
    more_body: bool = True
    done: list[str] = field(default_factory=list)

    def resume_reading(self) -> None:
        self.done.append("let in")

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        self.done.append(f"refused {status}")


@pytest.fixture
def loop() -> Loop:
    return Loop()


def connected(
    bounds: ConnectionLimits, loop: Loop, used: list[float | None], address: str = ""
) -> tuple[ConnectionTable, list[Client]]:
    connections = ConnectionTable(bounds)
    clients = [Client(connections, address or f"10.0.0.{number}", used_at=each) for number, each in enumerate(used)]
    for client in clients:
        connections.admit(client, loop)
    return connections, clients


def test_of_too_many_connections_the_one_used_least_lately_makes_room(loop: Loop) -> None:
    connections, clients = connected(ConnectionLimits(max_connections=4), loop, [3.0, 1.0, None, 2.0])
    fresh = Client(connections, used_at=9.0)
    assert connections.admit(fresh, loop)
    assert [client.done for client in (*clients, fresh)] == [[], ["evicted"], [], [], []]


def test_a_connection_is_refused_only_where_all_others_are_being_answered(loop: Loop) -> None:
    connections, clients = connected(ConnectionLimits(max_connections=4), loop, [None] * 4)
    over = Client(connections, used_at=None)
    assert connections.admit(over, loop)
    refused = Client(connections, used_at=9.0)
    assert not connections.admit(refused, loop)
    assert refused.done == ["refused 503", "evicted"]
    assert [client.done for client in clients] == [[]] * 4
    connections.remove(clients[0])
    assert connections.admit(Client(connections), loop)


def test_one_address_takes_no_more_than_its_share(loop: Loop) -> None:
    connections, clients = connected(ConnectionLimits(max_per_address=2), loop, [1.0, 2.0], address="10.0.0.1")
    assert connections.admit(Client(connections, "10.0.0.2"), loop)
    assert connections.admit(Client(connections, "10.0.0.1", used_at=None), loop)
    assert [client.done for client in clients] == [["evicted"], []]
    clients[1].used_at = None
    assert not connections.admit(Client(connections, "10.0.0.1"), loop)


def test_every_connection_is_looked_at_while_there_is_any(loop: Loop) -> None:
    connections, [client] = connected(ConnectionLimits(), loop, [1.0])
    loop.pass_(1.0)
    assert client.looks == 4
    connections.remove(client)
    loop.pass_(1.0)
    assert (client.looks, loop.due) == (4, [])
    assert connections.admit(client, loop)
    loop.pass_(0.3)
    assert client.looks == 5


def test_answers_nobody_reads_are_dropped_oldest_first_and_never_the_last_one(loop: Loop) -> None:
    connections, clients = connected(ConnectionLimits(max_buffered_bytes=100), loop, [1.0] * 3)
    for number, client in enumerate(clients):
        client.waiting, client.moved = 60, float(number)
        connections.mark_slow_reader(client)
    assert [client.done for client in clients] == [["dropped"], ["dropped"], []]
    clients[2].waiting = 500
    connections.mark_slow_reader(clients[2])
    assert clients[2].done == []


def test_a_body_waits_where_others_have_taken_the_room_and_goes_on_when_it_is_given_back() -> None:
    connections = ConnectionTable(ConnectionLimits(max_buffered_bytes=150_000))
    first, second, third = Upload(), Upload(), Upload()
    for body in (first, second):
        connections.track_body(body)
    connections.track_body(third)
    connections.request_more(third, 100.0)
    assert third.done == []
    connections.release_body(first)
    assert third.done == []
    connections.release_body(second)
    assert (third.done, connections.buffered_bytes) == (["let in"], 100_000)


def test_the_body_that_came_first_always_goes_on() -> None:
    connections = ConnectionTable(ConnectionLimits(max_buffered_bytes=50_000))
    first, second = Upload(), Upload()
    for body in (first, second):
        connections.track_body(body)
    connections.request_more(second, 100.0)
    connections.request_more(first, 100.0)
    assert (first.done, second.done) == (["let in"], [])
    connections.release_body(first)
    assert second.done == ["let in"]


def test_a_short_body_does_not_wait_behind_long_ones() -> None:
    connections = ConnectionTable(ConnectionLimits(max_buffered_bytes=220_000))
    holding = [Upload(), Upload()]
    long, endless, short = Upload(), Upload(content_length=None), Upload(content_length=200_000, received_bytes=70_000)
    for body in (*holding, long, endless):
        connections.track_body(body)
    for body in (long, endless):
        connections.request_more(body, 100.0)
    connections.track_body(short)
    connections.request_more(short, 100.0)
    for body in holding:
        connections.release_body(body)
    assert short.done == ["let in"]
    assert "let in" in long.done
    assert endless.done == []


def test_while_bodies_wait_those_that_stand_still_are_given_up_and_those_that_flow_are_not(loop: Loop) -> None:
    connections, _ = connected(ConnectionLimits(max_buffered_bytes=150_000), loop, [1.0])
    standing, flowing, waiting = Upload(), Upload(), Upload()
    for body in (standing, flowing, waiting):
        connections.track_body(body)
    loop.pass_(2 * CONTENTION_GRACE_SECONDS)
    assert standing.done == []  # nobody waits
    connections.request_more(waiting, loop.time())
    flowing.last_progress_at = loop.time()
    loop.pass_(0.3)
    assert (standing.done, flowing.done, waiting.done) == (["refused 408"], [], [])


def test_who_waits_too_long_for_room_is_refused(loop: Loop) -> None:
    connections, _ = connected(ConnectionLimits(max_buffered_bytes=50_000), loop, [1.0])
    whole, waiting = Upload(more_body=False), Upload()
    for body in (whole, waiting):
        connections.track_body(body)
    connections.request_more(waiting, loop.time())
    loop.pass_(MAX_BUFFER_WAIT_SECONDS + 1)
    assert waiting.done[0] == "refused 503"
    assert whole.done == []


def test_a_small_body_never_waits() -> None:
    connections = ConnectionTable(ConnectionLimits(max_buffered_bytes=1))
    connections.track_body(Upload())
    small = Upload(received_bytes=10)
    connections.request_more(small, 100.0)
    assert small.done == ["let in"]


def test_a_pace_is_asked_for_in_every_stretch_anew() -> None:
    pace = ThroughputWindow(0.0, 0.0)
    assert not pace.is_below_rate(9.9, 0.0, seconds=10, rate=5)
    assert not pace.is_below_rate(10.0, 50.0, seconds=10, rate=5)
    assert pace.is_below_rate(20.0, 99.0, seconds=10, rate=5)


@pytest.mark.parametrize(
    ("files", "connections"), [(65_536, 1000), (256, 128), (64, 25), (10, MIN_CONNECTIONS), (-1, 1000)]
)
def test_connections_leave_files_to_the_rest_of_the_server(files: int, connections: int) -> None:
    bounds = limits_from_settings(Settings(_env_file=None), files)
    assert bounds.max_connections == connections


def test_one_body_of_the_largest_size_always_has_room() -> None:
    assert limits_from_settings(Settings(_env_file=None, max_body_mb=100), 1024).max_buffered_bytes == 100 * 2**20
