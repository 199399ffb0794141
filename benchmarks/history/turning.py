"""The platform's evaluations in a process of their own: `python -m benchmarks.history.turning URL RULES ROUNDS FIRST`.

Before each round 1 000 answers and 20 labels arrive through the platform's own writers. Prints one JSON object.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.history.cells import peak_mib
from mlplatform.alerting import detector_state
from mlplatform.context import AppContext
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease_name
from monitors.rules.alerts_config import Rule
from tests.support.history import fill, world

EVERY: Final = timedelta(minutes=5)
ROUND: Final = EVERY + timedelta(minutes=1)
"""Five minutes of answers, and the minute until their labels come."""
ANSWERS: Final = 1_000
Spent = tuple[float, float]
WARM: Final = 2
"""Rounds that are not counted."""


@dataclass
class Clock:
    """A clock that moves only when told."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


def main() -> None:
    url, rules, rounds, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(_env_file=None, home=Path(home), database_url=url, alerts_file=rules)
        clock = Clock(world.START + timedelta(days=world.DAYS) + first * ROUND)
        context = AppContext(settings, clock)
        pngs, started = dict(world.pictures()), peak_mib()
        with context.database.write() as connection:
            name = leader_lease_name(context.rules.model)
            lease = leases.acquire(connection, name, context.instance, timedelta(days=1), clock())
        assert lease is not None
        told: dict[str, Any] = {"catch_up_s": _catch_up(context, clock, lease), "start_mib": started}
        taken = [_round(context, clock, lease, pngs, number) for number in range(first, first + WARM + rounds)][WARM:]
        with context.database.write() as connection:
            leases.release(connection, lease)
        names = [rule.name for rule in _rules(context)]
        for place, kind in enumerate(("seconds", "cpu_seconds")):
            told[f"rules_{kind}"] = {
                name: round(statistics.median(each[name][place] for each in taken), 5) for name in names
            }
            sums = [sum(spent[place] for spent in each.values()) for each in taken]
            told[kind] = round(statistics.median(sums), 5)
        told["peak_mib"] = peak_mib()
        print(json.dumps(told))


def _rules(context: AppContext) -> list[Rule]:
    """All but those that look at pictures with the model's own network: at most 500 pictures, whatever the history."""
    return [rule for rule in context.rules.rules if "pictures" not in rule.metric_spec.data_needs]


def _catch_up(context: AppContext, clock: Clock, lease: leases.Lease) -> float:
    """Seconds until every detector has read the history it begins with, as after an upgrade."""
    begun, cursors = time.perf_counter(), dict[str, int]()
    while True:
        for rule in _rules(context):
            evaluate(context, rule, clock(), lease)
        clock.now += timedelta(seconds=1)
        before, cursors = cursors, _cursors(context)
        if cursors == before:
            return round(time.perf_counter() - begun, 3)


def _cursors(context: AppContext) -> dict[str, int]:
    with context.database.read() as connection:
        held = {
            each.name: detector_state.load_state(connection, world.MODEL, world.VERSION, each.name)
            for each in _rules(context)
        }
    return {name: each.cursor for name, each in held.items() if each is not None}


def _round(context: AppContext, clock: Clock, lease: leases.Lease, pngs: fill.PNGS, number: int) -> dict[str, Spent]:
    """What arrives in five minutes, then every rule once; returns what each took."""
    first = 10**9 + number * ANSWERS
    plan = world.plan_of(ANSWERS * timedelta(days=1) / EVERY, world.DAYS)
    given = world.span(clock(), EVERY, ANSWERS, first, list(pngs), plan)
    labelled = [each for each in given.answers if each.source is not None][: world.BATCH]
    spare = [each for each in given.answers if each.source is None]
    labelled += [world.delayed(each) for each in spare[: world.BATCH - len(labelled)]]
    labelled.sort(key=lambda each: each.row["at"])
    clock.now += ROUND
    fill.publish(context.database, given)
    fill.record(context.database, given.answers, pngs)
    fill.take_labels(context.database, labelled)
    return {rule.name: _spent(context, rule, clock(), lease) for rule in _rules(context)}


def _spent(context: AppContext, rule: Rule, slot: datetime, lease: leases.Lease) -> Spent:
    """Wall and CPU seconds of one evaluation."""
    wall, cpu = time.perf_counter(), time.process_time()
    if evaluate(context, rule, slot, lease) is None:
        raise SystemExit(f"rule {rule.name} was not evaluated for {slot}")
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
