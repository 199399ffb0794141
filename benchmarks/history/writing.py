"""What writing costs: `python -m benchmarks.history.writing URL`, on a store that is prepared and not filled.

Answers with their counts and the draw for review, by how many are written together; labels, by how many arrive
together. Prints one JSON object: microseconds of wall and CPU time (this process's: not a database server's) for each.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median
from typing import Final

from mlplatform.store.database import Database
from tests.support.history import fill, world

TOGETHER: Final = (10, 50, 500)
ARRIVING: Final = (1, 20)
ANSWERS: Final = 1_000
LABELS: Final = 100
REPEATS: Final = 9
EVERY: Final = timedelta(minutes=5)
Spent = list[float]


def main() -> None:
    database, pngs = Database(sys.argv[1]), dict(world.pictures())
    answers = {
        str(together): _medians(_answers(database, pngs, day, together)) for day, together in enumerate(TOGETHER)
    }
    labels = {
        str(arriving): _medians(_labels(database, pngs, day, arriving)) for day, arriving in enumerate(ARRIVING, 10)
    }
    print(json.dumps({"answer_us": answers, "label_us": labels}))


def _answers(database: Database, pngs: fill.PNGS, day: int, together: int) -> Iterator[Spent]:
    for given in _arriving(database, pngs, day):
        with _timed(ANSWERS) as spent:
            fill.record(database, given.answers, pngs, together)
        yield spent


def _labels(database: Database, pngs: fill.PNGS, day: int, arriving: int) -> Iterator[Spent]:
    for given in _arriving(database, pngs, day):
        fill.record(database, given.answers, pngs)
        some = [world.delayed(each) for each in given.answers[:LABELS]]
        with _timed(LABELS) as spent:
            fill.take_labels(database, some, arriving)
        yield spent


def _arriving(database: Database, pngs: fill.PNGS, day: int) -> Iterator[world.Span]:
    plan = world.plan_of(ANSWERS * timedelta(days=1) / EVERY, day)
    for repeat in range(REPEATS):
        at = world.START + timedelta(days=day) + repeat * EVERY
        given = world.span(at, EVERY, ANSWERS, (100 * day + repeat) * ANSWERS, list(pngs), plan)
        if not repeat:
            fill.publish(database, given)
        yield given


@contextmanager
def _timed(pieces: int) -> Iterator[Spent]:
    """Microseconds of wall and CPU time for each piece, known at the end."""
    spent: Spent = []
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent += [1e6 * (time.perf_counter() - wall) / pieces, 1e6 * (time.process_time() - cpu) / pieces]


def _medians(taken: Iterator[Spent]) -> dict[str, float]:
    walls, cpus = zip(*taken, strict=True)
    return {"wall": round(median(walls), 1), "cpu": round(median(cpus), 1)}


if __name__ == "__main__":
    main()
