"""Promise: alarms within their budget, no later than others at equal false alarms, and renewal that does no harm.

Streams of real handwriting with a known moment of change, played through the real store, monitors, governor, training
and gate under a clock of their own; seeded. Beside ours, on the same labels: the naive threshold on windows of 200 and
1 000 labels, and river's ADWIN, DDM and Page-Hinkley. For delays each of them is set to the most eager value that
raises no more false alarms than ours in either kind of healthy stream: as bad as the rule just allows, all the time or
after ten good days. NannyML's confidence-based estimate, which needs no labels, runs at its usual threshold on days.
`--data-dir` names a folder with `mnist`, `qmnist-labels` and `usps`; without it scikit-learn's
bundled digits are used, which have no writers and no USPS.
"""

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.gym.play import Played, play
from benchmarks.gym.plots import draw_plots
from benchmarks.gym.rivals import Rival, alarms, calibrated, healthy_streams, our_alarms, rivals
from benchmarks.gym.scenarios import OLD, Scenario, scenarios
from benchmarks.gym.stage import Stage, first_champion
from benchmarks.gym.worlds import Atlas, load_atlas
from mlplatform.evidence import baseline_of
from mlplatform.store import promotions
from monitors.watching import null_of

PER_DAY: Final = 200
BOOST: Final = 3
"""How many times more answers are labelled while something is wrong, where models are renewed; delays are without."""
SMALL: Final = (0.5, 1.0, 2.0)
QUICK: Final = (
    "stationary",
    "abrupt-scanner",
    "new-writers",
    "one-class",
    "benign",
    "complaints",
    "poisoned",
    "latency-step",
)
QUICK_RENEWALS: Final = ("abrupt-scanner", "new-writers", "benign", "poisoned")
OURS: Final = "ours"
_numbers: Final = itertools.count()


@dataclass
class Gym:
    """Everything one run needs and has found."""

    home: Path
    atlas: Atlas
    data_dir: Path | None
    seeds: int
    renewals: int
    quick: bool
    workers: int = 1
    answered: dict[tuple[str, str, float], Any] = field(default_factory=dict)

    @property
    def first(self) -> Path:
        return self.home / "first"

    def stage(self, scenario: Scenario, seed: int, boost: int = 1) -> Stage:
        """A platform for one stream; streams of one name and seed are the same every time."""
        home = self.home / f"{scenario.name}-{seed}-{os.getpid()}-{next(_numbers)}"
        return Stage(
            home,
            self.first,
            self.atlas,
            seed,
            per_day=scenario.per_day,
            uniform=scenario.uniform,
            boost=boost,
            answered=self.answered,
        )

    def played(self, scenario: Scenario, seed: int, *, renews: bool) -> Played:
        stage = self.stage(scenario, seed, BOOST if renews else 1)
        try:
            return play(stage, scenario, renews=renews)
        finally:
            stage.close()


@dataclass(frozen=True)
class Limits:
    """Error shares: what the rule allows at most, what the naive rule holds against, and what is usual.

    `due`: the streams whose change goes beyond what a rule allows; another need not be found.
    """

    allowed: float
    naive: float
    usual: float
    due: frozenset[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer and shorter streams")
    parser.add_argument("--data-dir", type=Path, help="folder with mnist, qmnist-labels and usps")
    parser.add_argument("--seeds", type=int, help="streams of each kind for detection; 5, or 1 when quick")
    parser.add_argument("--renewals", type=int, help="streams of each kind for renewal; 2, or 1 when quick")
    parser.add_argument("--only", help="names of streams, with commas")
    parser.add_argument("--plots", type=Path, help="folder for plots")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="streams played at once")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        usual = (1, 1) if arguments.quick else (5, 2)
        seeds = usual[0] if arguments.seeds is None else arguments.seeds
        renewals = usual[1] if arguments.renewals is None else arguments.renewals
        data = None if arguments.data_dir is None else arguments.data_dir.resolve()
        gym = Gym(Path(folder), load_atlas(data), data, seeds, renewals, arguments.quick, arguments.workers)
        first_champion(gym.first, gym.atlas, 1.0)
        figures = run(gym, arguments.only.split(",") if arguments.only else None, arguments.plots)
    print(json.dumps(figures))


def run(gym: Gym, only: Sequence[str] | None, plots: Path | None) -> dict[str, Any]:
    """Play everything, print the tables, and return the figures."""
    limits, small, chosen = prepared(gym, only)
    print(f"errors: usual {limits.usual:.2%}, naive limit {limits.naive:.2%}, allowed at most {limits.allowed:.2%}")
    renewing = [each for each in chosen if each.renews and not (gym.quick and each.name not in QUICK_RENEWALS)]
    spawned = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(gym.workers, spawned, _begin, (gym.home, gym.data_dir, small)) as pool:
        long = [pool.submit(_renewed, each.name, seed) for each in renewing for seed in range(1, gym.renewals + 1)]
        short = [pool.submit(_detected, each.name, seed) for each in chosen for seed in range(1, gym.seeds + 1)]
        equal, at_limit = equalised(limits, 10 if gym.quick else 20)
        renewed, found = _by_name(long), _by_name(short)
    for each in chosen:
        _say(each, found[each.name])
    figures = summed_up(chosen, found, renewed, equal, limits) | at_limit
    if plots is not None:
        draw_plots(plots, figures, renewed)
    return figures


_worker: dict[str, Any] = {}
"""What a worker process holds: its gym and the streams by name."""


def _begin(home: Path, data_dir: Path | None, small: Mapping[str, float]) -> None:
    logging.disable(logging.CRITICAL)
    gym = Gym(home, load_atlas(data_dir), data_dir, 1, 1, quick=False)
    _worker.update(gym=gym, streams={each.name: each for each in scenarios(gym.atlas, small)})


def _detected(name: str, seed: int) -> Played:
    played: Played = _worker["gym"].played(_worker["streams"][name], seed, renews=False)
    return played


def _renewed(name: str, seed: int) -> Played:
    played: Played = _worker["gym"].played(_worker["streams"][name], seed, renews=True)
    return played


def _by_name(futures: Sequence["Future[Played]"]) -> dict[str, list[Played]]:
    found: dict[str, list[Played]] = defaultdict(list)
    for future in futures:
        one = future.result()
        found[one.scenario].append(one)
        if one.accuracy:
            _say_renewed(one)
        else:
            print(f"played {one.scenario} {one.seed}: delay {one.delay_labels}", flush=True)
    return found


def prepared(gym: Gym, only: Sequence[str] | None) -> tuple[Limits, dict[str, float], list[Scenario]]:
    """The error shares that matter, the shares that make small drops, and the streams to play."""
    probe = Scenario("probe", 0, lambda _: OLD, 0)
    stage = gym.stage(probe, 0)
    try:
        with stage.parts.database.read() as connection:
            champion = promotions.latest(connection, "digits")
            assert champion is not None
            baseline = baseline_of(connection, champion)
        null = null_of(stage.parts.rules.rules[0], baseline)
        assert null is not None
        usual = 1 - stage.accuracy(1, OLD, "stream")
        moved = 1 - stage.accuracy(1, {("turned", 0.7): 1.0}, "stream")
        small = {f"{points:g}": points / 100 / (moved - usual) for points in SMALL}
        naive = 1 - baseline.accuracy_correct / baseline.accuracy_total + 0.005
        chosen = [each for each in scenarios(gym.atlas, small) if not (gym.quick and each.name not in QUICK)]
        due = frozenset(each.name for each in chosen if _is_due(stage, each, null))
        wanted = [each for each in chosen if only is None or each.name in only]
        return Limits(null, naive, usual, due), small, wanted
    finally:
        stage.close()


def _is_due(stage: Stage, scenario: Scenario, allowed: float) -> bool:
    """Whether the world ends beyond what the rule about accuracy allows, or a class beyond what its rule does."""
    if scenario.is_healthy or scenario.rule == "latency":
        return False
    wrong = 1 - stage.accuracy(1, scenario.mixture(scenario.changes[-1] + 10.1), "stream")
    return wrong > allowed or scenario.failing is not None


def equalised(limits: Limits, runs: int) -> tuple[dict[str, tuple[Rival, float]], dict[str, Any]]:
    """Each rival with its most eager setting that raises no more false alarms than ours in healthy streams."""
    families = healthy_streams(limits.allowed, limits.usual, PER_DAY, runs, seed=11)
    ours = [sum(len(our_alarms(limits.allowed, each, PER_DAY)) for each in family) for family in families]
    equal = {each.name: (each, calibrated(each, families, ours)) for each in rivals(limits.naive)}
    print(f"at the limit: {ours[0]} and {ours[1]} false alarms of ours in {runs} times 90 days, {runs} allowed in each")
    print("equal settings:", ", ".join(f"{name} {knob:.4g}" for name, (_, knob) in equal.items()))
    figures = {"at_the_limit": {"false_alarms": ours, "allowed": runs}}
    return equal, figures


def summed_up(
    chosen: Sequence[Scenario],
    found: Mapping[str, Sequence[Played]],
    renewed: Mapping[str, Sequence[Played]],
    equal: Mapping[str, tuple[Rival, float]],
    limits: Limits,
) -> dict[str, Any]:
    """The figures of the last line."""
    healthy = [each for each in chosen if each.is_healthy]
    within = all(
        sum(one.false_alarms for one in found[each.name]) <= max(1.0, 2 * each.days * len(found[each.name]) / 90)
        for each in healthy
    )
    evaluations = sum(one.evaluations for each in healthy for one in found[each.name])
    calm = [one for each in healthy if each.rule != "latency" for one in found[each.name]]
    per_1000 = {OURS: 1000 * sum(one.false_alarms for one in calm) / max(1, evaluations)}
    for name, (rival, _) in equal.items():
        raised = sum(len(alarms(lambda: rival.make(rival.usual), one.wrong)) for one in calm)  # noqa: B023
        per_1000[name] = 1000 * raised / max(1, evaluations)
    delays, ratios, missed = compared([each for each in chosen if not each.is_healthy], found, equal, limits)
    promoted = [each for many in renewed.values() for one in many for each in one.promotions]
    return {
        "false_alarms_within_budget": within,
        "false_alarms_per_1000": {name: round(value, 3) for name, value in per_1000.items()},
        "delay_labels_median": delays[OURS] | {},
        "delays": delays,
        "delay_ratio": round(max(ratios.values()), 3) if ratios else None,
        "delay_ratios": {name: round(value, 3) for name, value in ratios.items()},
        "missed": missed,
        "labels": {name: statistics.median(one.labels for one in many) for name, many in found.items()},
        "harmful_promotions": sum(each.is_harmful for each in promoted),
        "promotions": len(promoted),
        "benign_retrains": sum(one.retrainings for one in renewed.get("benign", ())),
    } | renewal(chosen, renewed)


def compared(
    changed: Sequence[Scenario],
    found: Mapping[str, Sequence[Played]],
    equal: Mapping[str, tuple[Rival, float]],
    limits: Limits,
) -> tuple[dict[str, dict[str, Any]], dict[str, float], dict[str, int]]:
    """Delays by detector and stream (median and 90th percentile), ours over the best rival's, and changes missed."""
    del limits
    delays: dict[str, dict[str, Any]] = {name: {} for name in (OURS, *equal)}
    ratios: dict[str, float] = {}
    missed = dict.fromkeys((OURS, *equal), 0)
    for scenario in changed:
        if scenario.rule == "latency":
            continue
        mine = [float("inf") if one.delay_labels is None else float(one.delay_labels) for one in found[scenario.name]]
        by_name = {OURS: mine}
        for name, (rival, knob) in equal.items():
            by_name[name] = [_delay(rival, knob, one) for one in found[scenario.name]]
        for name, each in by_name.items():
            delays[name][scenario.name] = {"median": _finite(statistics.median(each)), "p90": _finite(_p90(each))}
            missed[name] += sum(value == float("inf") for value in each)
        best = min(statistics.median(each) for name, each in by_name.items() if name != OURS)
        if best < float("inf") and statistics.median(mine) < float("inf"):
            ratios[scenario.name] = statistics.median(mine) / best
    return delays, ratios, missed


def renewal(chosen: Sequence[Scenario], renewed: Mapping[str, Sequence[Played]]) -> dict[str, Any]:
    """What renewal regained of what real drift took, and what it cost on the old world."""
    shares, losses = [], []
    for scenario in chosen:
        for one in renewed.get(scenario.name, ()):
            got = one.accuracy
            if scenario.changes:
                shares.append((got["after"] - got["drifted"]) / (got["before"] - got["drifted"]))
                losses.append(100 * (got["before"] - got["old_after"]))
    return {
        "recovered_share": round(statistics.median(shares), 3) if shares else None,
        "recovered_shares": [round(each, 3) for each in shares],
        "old_world_loss_points": round(statistics.median(losses), 2) if losses else None,
        "old_world_losses": [round(each, 2) for each in losses],
    }


def _delay(rival: Rival, knob: float, one: Played) -> float:
    change = one.changed_at or 0
    return next(
        (place - change + 1.0 for place in alarms(lambda: rival.make(knob), one.wrong) if place >= change), float("inf")
    )


def _p90(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.9 * len(values)))]


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def _say(scenario: Scenario, many: Sequence[Played]) -> None:
    delays = [one.delay_labels for one in many]
    print(
        f"{scenario.number:>2} {scenario.name:<16} {sum(one.evaluations for one in many):>6} evaluations, "
        f"{sum(one.false_alarms for one in many)} false alarms, delay in labels {delays}",
        flush=True,
    )


def _say_renewed(one: Played) -> None:
    steps = ", ".join(
        f"day {each.day:.1f} v{each.version} {each.world[0]:.2%} → {each.world[1]:.2%}" for each in one.promotions
    )
    shown = ", ".join(f"{name} {value:.2%}" for name, value in one.accuracy.items() if name != "version")
    print(f"   {one.scenario:<16} {one.retrainings} retrainings; {steps or 'no promotion'}; {shown}", flush=True)


if __name__ == "__main__":
    main()
