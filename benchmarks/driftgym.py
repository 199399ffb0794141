"""Promise: alarms within their budget, no later than others at equal false alarms, and renewal that does no harm.

Streams of real handwriting with a known moment of change, played through the real store, monitors, supervisor, training
and gate under a clock of their own; seeded. Beside ours, on the same labels: the naive threshold on windows of 200 and
1 000 labels, and river's ADWIN, DDM and Page-Hinkley. For delays each of them is set to the most eager value that
raises no more false alarms than ours in any of three kinds of healthy stream with as many labels a day: as bad as the
rule just allows, all the time, after ten good days, or every other ten days. NannyML's confidence-based estimate, which
needs no labels, runs at its usual threshold on days; with `--quick` only where an earlier run has installed it. Streams
of writers' sheets and of complaints that come first are about labels that depend on each other. `--data-dir` names a
folder with `mnist`, `qmnist-labels` and `usps`; without it scikit-learn's bundled digits are used, without writers and
without USPS. `--keep` names a folder for the first version and for what was played, so that a run that was broken off
goes on; it belongs to one state of the code and of the data.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import logging
import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter

from benchmarks.gym.figures import Equal, Limits, summed_up
from benchmarks.gym.play import Played, play
from benchmarks.gym.plots import draw_plots
from benchmarks.gym.rivals import calibrated, healthy_streams, our_alarms, rivals
from benchmarks.gym.scenarios import FAILING, OLD, PER_HOUR, Scenario, in_short, scenarios
from benchmarks.gym.stage import CLASS_LIMIT, Stage, first_champion
from benchmarks.gym.worlds import Atlas, load_atlas
from benchmarks.peers import HOME, NANNYML, environment
from mlplatform.monitoring.rule_inputs import load_baseline
from mlplatform.promotion import promotion_history

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
QUICK_RENEWALS: Final = ("abrupt-scanner", "new-writers", "poisoned")
"""Better light asks for no renewal unless the rule about accuracy alarms, which the stream without renewals shows."""
QUIET: Final = {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
REFERENCE_DAYS: Final = 30
_numbers: Final = itertools.count()
_PLAYED: Final = TypeAdapter(Played)


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
    first_seed: int = 1
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
            per_day=scenario.audits_per_day,
            uniform=scenario.uniform,
            boost=boost,
            answered=self.answered,
        )

    def streams(self, small: Mapping[str, float]) -> list[Scenario]:
        """Every stream that is played; when quick, fewer and shorter ones."""
        every = scenarios(self.atlas, small)
        return [in_short(each) for each in every if each.name in QUICK] if self.quick else list(every)

    def seeds_of(self, count: int) -> range:
        """So many seeds, from the first on."""
        return range(self.first_seed, self.first_seed + count)

    @property
    def shares(self) -> Path:
        """The folder of the probabilities that NannyML reads."""
        return self.home / "shares"

    @property
    def results(self) -> Path:
        """The folder of what was played; there once the first version is whole."""
        return self.home / "played"

    def played(self, scenario: Scenario, seed: int, *, renews: bool) -> Played:
        """The stream as it was played before into this home, or as it is played now."""
        kept = self.results / f"{scenario.name}-{seed}-{'renewed' if renews else 'detected'}.json"
        if kept.exists():
            return _PLAYED.validate_json(kept.read_bytes())
        stage = self.stage(scenario, seed, BOOST if renews else 1)
        try:
            played = play(stage, scenario, renews=renews, keep=self.shares / f"{scenario.name}-{seed}.npy")
        finally:
            stage.close()
        unfinished = kept.with_suffix(".part")
        unfinished.write_bytes(_PLAYED.dump_json(played))
        unfinished.replace(kept)
        return played


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer and shorter streams")
    parser.add_argument("--data-dir", type=Path, help="folder with mnist, qmnist-labels and usps")
    parser.add_argument("--seeds", type=int, help="streams of each kind for detection; 5, or 1 when quick")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first stream of each kind")
    parser.add_argument("--renewals", type=int, help="streams of each kind for renewal; 2, or 1 when quick")
    parser.add_argument("--only", help="names of streams, with commas")
    parser.add_argument("--keep", type=Path, help="folder for what was played, to go on from")
    parser.add_argument("--plots", type=Path, help="folder for plots")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="streams played at once")
    arguments = parser.parse_args()
    if importlib.util.find_spec("river") is None:
        parser.error("river, whose detectors are compared with ours, is not installed: pip install -e '.[bench]'")
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        home = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        usual = (1, 1) if arguments.quick else (5, 2)
        seeds = usual[0] if arguments.seeds is None else arguments.seeds
        renewals = usual[1] if arguments.renewals is None else arguments.renewals
        data = None if arguments.data_dir is None else arguments.data_dir.resolve()
        gym = Gym(home.resolve(), load_atlas(data), data, seeds, renewals, arguments.quick, arguments.workers)
        gym.first_seed = arguments.first_seed
        if not gym.results.exists():
            shutil.rmtree(gym.first, ignore_errors=True)  # of a run that ended while it made it
            first_champion(gym.first, gym.atlas, 1.0)
            gym.results.mkdir()
        figures = run(gym, arguments.only.split(",") if arguments.only else None, arguments.plots)
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(each.ru_utime + each.ru_stime for each in spent)
    print(json.dumps(figures | {"seconds": round(time.monotonic() - began), "processor_seconds": round(processor)}))


def run(gym: Gym, only: Sequence[str] | None, plots: Path | None) -> dict[str, Any]:
    """Play everything, print the tables, and return the figures."""
    gym.shares.mkdir(exist_ok=True)
    limits, small, chosen = prepared(gym, only)
    print(f"errors: usual {limits.usual:.2%}, naive limit {limits.naive:.2%}, allowed at most {limits.allowed:.2%}")
    renewing = [each for each in chosen if each.renews and not (gym.quick and each.name not in QUICK_RENEWALS)]
    spawned = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(gym.workers, spawned, _begin, (gym.home, gym.data_dir, small, gym.quick)) as pool:
        # The longest first, so that no worker is left alone with one of them at the end.
        long = [pool.submit(_renewed, each.name, seed) for each in renewing for seed in gym.seeds_of(gym.renewals)]
        short = [pool.submit(_detected, each.name, seed) for each in chosen for seed in gym.seeds_of(gym.seeds)]
        rates = sorted({each.per_day for each in chosen if not each.is_healthy and each.rule == "labels"})
        equal = {per_day: equalised(limits, per_day, 10 if gym.quick else 20) for per_day in rates}
        renewed, found = _by_name(long), _by_name(short)
    for each in chosen:
        _say(each, found[each.name])
    figures = summed_up(chosen, found, renewed, equal, limits, estimated(gym))
    if plots is not None:
        draw_plots(plots, figures, renewed)
    return figures


_worker: dict[str, Any] = {}
"""What a worker process holds: its gym and the streams by name."""


def _begin(home: Path, data_dir: Path | None, small: Mapping[str, float], quick: bool) -> None:
    logging.disable(logging.CRITICAL)
    gym = Gym(home, load_atlas(data_dir), data_dir, 1, 1, quick)
    _worker.update(gym=gym, streams={each.name: each for each in gym.streams(small)})


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
        null = stage.allowed
        with stage.context.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, "digits")
            assert champion is not None
            baseline = load_baseline(connection, champion)
        usual = 1 - stage.accuracy(1, OLD, "stream")
        moved = 1 - stage.accuracy(1, {("turned", 0.7): 1.0}, "stream")
        small = {f"{points:g}": points / 100 / (moved - usual) for points in SMALL}
        naive = 1 - baseline.accuracy_correct / baseline.accuracy_total + 0.005
        chosen = gym.streams(small)
        if not gym.atlas.has_writers:
            print(
                "writer-by-writer is left out: nobody knows who wrote these digits; --data-dir names a folder that does"
            )
        golden, draw = gym.atlas.split.golden, np.random.default_rng(1)
        drawn = draw.integers(len(golden), size=REFERENCE_DAYS * 24 * PER_HOUR)  # with repeats, as streams are shown
        shares = stage.predictor(1)(golden.batch)
        np.savez(gym.shares / "reference.npz", shares=shares[drawn], truths=golden.labels[drawn])
        due = frozenset(each.name for each in chosen if _is_due(stage, each, null))
        wanted = [each for each in chosen if only is None or each.name in only]
        return Limits(null, naive, usual, due), small, wanted
    finally:
        stage.close()


def _is_due(stage: Stage, scenario: Scenario, allowed: float) -> bool:
    """Whether the world ends beyond what the rule about accuracy allows, or a class beyond what its rule does."""
    if scenario.is_healthy or scenario.rule == "latency":
        return False
    if scenario.failing is not None:
        return stage.misread(scenario.failing, *FAILING) > CLASS_LIMIT
    return 1 - stage.accuracy(1, scenario.mixture(scenario.changes[-1] + 10.1), "stream") > allowed


def estimated(gym: Gym) -> dict[str, list[int]] | None:
    """The days on which NannyML's estimate alarmed, by stream and seed; None where NannyML cannot be had."""
    if gym.quick and not (HOME / "nannyml" / "made").exists():
        print("nannyml is left out: its environment takes minutes to install, which a run in full does")
        return None
    python = environment("nannyml", NANNYML)
    if python is None:
        return None
    command = [python, "-m", "benchmarks.gym.with_nannyml", str(gym.shares), str(24 * PER_HOUR)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | QUIET)
    days: dict[str, list[int]] = json.loads(done.stdout.splitlines()[-1])
    return days


def equalised(limits: Limits, per_day: int, runs: int) -> Equal:
    """Each rival with its most eager setting that raises no more false alarms than ours, at so many labels a day.

    `runs` are those at PER_DAY; a slower stream gets more, so that as many labels are read.
    """
    runs = runs * PER_DAY // per_day
    families = healthy_streams(limits.allowed, limits.usual, per_day, runs, seed=11)
    ours = [sum(len(our_alarms(limits.allowed, each, per_day)) for each in family) for family in families]
    found = {each.name: (each, calibrated(each, families, ours)) for each in rivals(limits.naive)}
    settings = {name: (rival, knob) for name, (rival, knob) in found.items() if knob is not None}
    equal = Equal(settings, [rival for rival, _ in found.values()], ours, runs)
    print(
        f"at the limit, {per_day} labels a day: {ours} false alarms of ours in {runs} times 90 days, {runs} allowed "
        f"on average, up to {equal.most_by_luck:.0f} by luck"
    )
    print("equal settings:", ", ".join(f"{name} {knob:.4g}" for name, (_, knob) in settings.items()), flush=True)
    louder = sorted(found.keys() - settings.keys())
    if louder:
        print("raise more false alarms than ours at every setting, so they are not compared:", ", ".join(louder))
    return equal


def _say(scenario: Scenario, many: Sequence[Played]) -> None:
    for one in many:
        for alarm in one.fired:
            print(f"   {scenario.name} {one.seed}, before any change: {alarm}")
    delays, stood = [one.delay_labels for one in many], sum(one.standing for one in many)
    print(
        f"{scenario.number:>2} {scenario.name:<16} {sum(one.evaluations for one in many):>6} evaluations, "
        f"{sum(one.false_alarms for one in many)} false alarms, delay in labels {delays}"
        + (f", {stood} true ones of what was broken from the start" if stood else ""),
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
