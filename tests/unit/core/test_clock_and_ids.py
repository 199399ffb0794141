"""Time and ids: aware, in UTC, in order; no id twice."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from uuid import RFC_4122, UUID

from mlplatform.clock import utc_now
from mlplatform.ids import uuid7
from tests.support.platform_world import START, FakeClock


def test_now_is_aware_and_utc() -> None:
    before = datetime.now(UTC)
    assert before <= utc_now() <= datetime.now(UTC)
    assert utc_now().tzinfo is UTC


def test_an_id_is_a_version_7_uuid_that_holds_its_millisecond(clock: FakeClock) -> None:
    clock.now = START.replace(microsecond=123_456)
    made = UUID(uuid7(clock))
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == int(START.timestamp()) * 1000 + 123
    assert len(uuid7(clock)) == 36


def test_ids_are_in_the_order_they_were_made() -> None:
    made = [uuid7() for _ in range(3000)]
    assert made == sorted(made)
    assert len(set(made)) == 3000


def test_ids_a_millisecond_of_the_clock_apart_are_in_order(clock: FakeClock) -> None:
    made = []
    for _ in range(3000):
        made.append(uuid7(clock))
        clock.tick(milliseconds=1)
    assert made == sorted(made)


def test_children_of_a_fork_make_ids_of_their_own() -> None:
    script = """
import os
from mlplatform.ids import uuid7
uuid7()
child = os.fork()
print("".join(f"{uuid7()}\\n" for _ in range(50)), end="", flush=True)
if child:
    os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert len(set(done.stdout.split())) == 100


def test_ids_of_one_moment_differ(clock: FakeClock) -> None:
    assert len({uuid7(clock) for _ in range(1000)}) == 1000


def test_the_zone_of_the_clock_does_not_matter(clock: FakeClock) -> None:
    here = uuid7(clock)
    clock.now = START.astimezone(timezone(timedelta(hours=9)))
    assert uuid7(clock)[:13] == here[:13]
