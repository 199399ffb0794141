"""Attacks on the rules that look at predictions and inputs without labels: seasons, slow change, classes, clusters.

Each plays hours of predictions through the decision of the shipped rule and the life of its alert.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.guarantee_attacks import Attack, rate_attack, share_attack
from monitors.alerts import Alert, apply_finding
from monitors.decisions.decision import decide
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.statistics.holm import holm_rejections
from monitors.statistics.two_sample import FeatureSample, compare_samples
from monitors.windows.reference_period import ReferencePeriod
from monitors.windows.window import Baseline, ReferenceMix
from monitors.windows.window_counts import WindowCounts

MONDAY: Final = datetime(2026, 1, 5, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
DAY_HOURS: Final = 24
DAYS: Final = 90
MixAt = Callable[[datetime], NDArray[np.float64]]
VolumeAt = Callable[[datetime], float]


@dataclass(frozen=True)
class Played:
    """How often an alert was opened, what share of looks one stood, and the hour of the first one opened."""

    opened: int
    standing: float
    first: int | None


def run_attacks(quick: bool) -> Iterator[Attack]:
    """All of them."""
    runs, every = (2, 6) if quick else (5, 3)
    yield from _season_attacks(runs, every)
    yield from _many_classes(runs, every)
    yield from _class_volume_attacks(runs, max(every, 2))
    yield from _cluster_attacks(6 if quick else 40)


def mix_rule(metric: str = "prediction_drift", every: int = 1, **written: Any) -> Rule:  # noqa: ANN401 - keys of a rule
    """The shipped rule on the mix of classes, looked at every so many hours."""
    shipped = {"name": "mix", "metric": metric, "above": "20 %", "clear": "10 %", "window": "24h", "reference": "7d"}
    keys = {**shipped, "min_samples": 500, "every": f"{every}h", "false_alarms": "1 per 90d", **written}
    keys = {key: value for key, value in keys.items() if value is not None}
    return AlertsConfig.model_validate({"version": 1, "model": "digits", "rules": [keys]}).rules[0]


def play(rule: Rule, mix: MixAt, volume: VolumeAt, start: datetime, days: int, seed: int) -> Played:
    """Hours of predictions from a promotion at `start` on, looked at by the rule; alerts by class count alike."""
    generator = np.random.default_rng(seed)
    hours = [start + hour * HOUR for hour in range(DAY_HOURS * days)]
    counts = np.array([generator.multinomial(generator.poisson(volume(at)), mix(at)) for at in hours])
    classes = tuple(f"c{number}" for number in range(counts.shape[1]))
    period = ReferencePeriod(start, start + rule.reference)
    every = int((rule.every or HOUR) / HOUR)
    alerts: dict[str, Alert] = {}
    opened, standing, looks, first = 0, 0, 0, None
    for hour in range(int(rule.reference / HOUR) + every, len(hours) + 1, every):
        now = start + hour * HOUR
        window = period.comparable_window(now - rule.window, now)
        assert window is not None
        newest = _counted(counts, start, [window])
        reference = _counted(counts, start, period.matching_spans(window))
        findings = decide(
            rule, _window(rule, classes, newest, now), Baseline(990, 1_000, reference_mix=_mix(classes, reference, now))
        )
        for finding in findings:
            before = alerts.get(finding.key)
            alert = apply_finding(before, finding, rule, now, lambda: "alert").alert
            if alert is not None and alert.is_open:
                opened += before is None
                first = hour if first is None else first
                alerts[finding.key] = alert
            else:
                alerts.pop(finding.key, None)
        looks, standing = looks + 1, standing + bool(alerts)
    return Played(opened, standing / looks, first)


def _counted(counts: NDArray[np.int64], start: datetime, spans: Any) -> NDArray[np.int64]:  # noqa: ANN401 - stretches
    rows = [slice((first - start) // HOUR, (end - start) // HOUR) for first, end in spans]
    total: NDArray[np.int64] = sum((counts[row].sum(axis=0) for row in rows), np.zeros(counts.shape[1], dtype=np.int64))
    return total


def _named(classes: tuple[str, ...], counts: NDArray[np.int64]) -> Mapping[str, int]:
    return {name: n for name, n in zip(classes, counts.tolist(), strict=True) if n}


def _mix(classes: tuple[str, ...], counts: NDArray[np.int64], at: datetime) -> ReferenceMix:
    return ReferenceMix(_named(classes, counts), at, "the same hours of its first 7 days")


def _window(rule: Rule, classes: tuple[str, ...], counts: NDArray[np.int64], now: datetime) -> WindowCounts:
    given = {name: {60: n} for name, n in _named(classes, counts).items()}
    total = int(counts.sum())
    return WindowCounts("digits", 1, classes, now - rule.window, now, total, predictions_by_confidence=given)


def even_mix(classes: int) -> NDArray[np.float64]:
    """All classes alike."""
    return np.full(classes, 1 / classes)


def moved(mix: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """A mix that lies so far from another one: half of the classes give, the other half gets."""
    half, changed = len(mix) // 2, mix.copy()
    changed[:half] *= 1 - share / mix[:half].sum()
    changed[half:] *= 1 + share / mix[half:].sum()
    return changed


def _season_attacks(runs: int, every: int) -> Iterator[Attack]:
    base, rule = even_mix(10), mix_rule(every=every)

    def steady(_: datetime) -> float:
        return 1_000 / DAY_HOURS

    def busy_days(at: datetime) -> float:
        return 50_000 / DAY_HOURS * (0.4 if at.hour < 6 else 1.2)

    def nightly(at: datetime) -> NDArray[np.float64]:
        return moved(base, 0.3) if at.hour < 6 else base

    def slow(at: datetime) -> NDArray[np.float64]:
        return moved(base, 0.25 * (at - MONDAY) / timedelta(days=DAYS))

    for share, before in ((0.2, (13.3, 34.3)), (0.25, (16.0, 14.3)), (0.35, (13.0, 13.0))):
        for place, (day, first) in enumerate((("monday", MONDAY), ("saturday", MONDAY + timedelta(days=5)))):

            def weekends(at: datetime, share: float = share) -> NDArray[np.float64]:
                return moved(base, share) if at.weekday() >= 5 else base

            counts = [play(rule, weekends, steady, first, DAYS, seed).opened for seed in range(runs)]
            name = f"weekend-mix-{share:g}-from-{day}"
            yield rate_attack(name, "5", 1.0, counts, before=before[place])
    nights = [play(rule, nightly, busy_days, MONDAY, DAYS, seed).standing for seed in range(min(runs, 3))]
    standing = sum(nights) / len(nights)
    yield Attack("night-mix-0.3-time-in-alert", "5", 0.01, standing, 0.001, "share of looks", before=1.0)
    # A distance that goes beyond what is allowed is one true alert; more of them would be flapping.
    drifts = [play(rule, slow, steady, MONDAY, DAYS, seed).opened - 1 for seed in range(runs)]
    yield rate_attack("slow-change-to-0.25-further-alerts", "5", 1.0, drifts, before=12.7)

    def change(at: datetime) -> NDArray[np.float64]:
        return moved(base, 0.3) if at >= MONDAY + timedelta(days=20) else base

    late = DAY_HOURS * 21 + every
    missed = [
        (played.first or 10**9) > late
        for played in (play(rule, change, steady, MONDAY, 22, seed) for seed in range(2 * runs))
    ]
    yield share_attack("change-of-0.3-not-seen-in-a-day", "5", 0.1, sum(missed), len(missed))


def _many_classes(runs: int, every: int) -> Iterator[Attack]:
    def steady(_: datetime) -> float:
        return 1_000 / DAY_HOURS

    for classes, days in ((62, DAYS), (1_000, DAYS // 3)):
        base, step = even_mix(classes), max(every, 6)
        rule = mix_rule(every=step)
        counts = [DAYS / days * play(rule, lambda _: base, steady, MONDAY, days, n).opened for n in range(runs)]  # noqa: B023
        yield rate_attack(f"quiet-mix-of-{classes}-classes", "5", 1.0, counts)


def _class_volume_attacks(runs: int, every: int) -> Iterator[Attack]:
    """Sixty-two classes, 50 answers of each a day: healthy through weekends, and one that is no longer named."""
    base = even_mix(62)
    rule = mix_rule("class_volume", every, above=None, below="40 %", clear="60 %", min_samples=200)
    died = MONDAY + timedelta(days=20)

    def steady(_: datetime) -> float:
        return 3_100 / DAY_HOURS

    def weekends(at: datetime) -> NDArray[np.float64]:
        return moved(base, 0.35) if at.weekday() >= 5 else base

    def death(at: datetime) -> NDArray[np.float64]:
        mix = base.copy()
        mix[0] *= at < died
        alive: NDArray[np.float64] = mix / mix.sum()
        return alive

    counts = [play(rule, weekends, steady, MONDAY, DAYS, seed).opened for seed in range(runs)]
    yield rate_attack("class-volume-through-weekends", "6", 1.0, counts)
    late = DAY_HOURS * 21 + every
    missed = [(play(rule, death, steady, MONDAY, 23, seed).first or 10**9) > late for seed in range(4 * runs)]
    yield share_attack("dead-class-named-no-more-not-seen-in-a-day", "6", 0.1, sum(missed), len(missed))


def _cluster_attacks(looks: int) -> Iterator[Attack]:
    """Nothing changes, but pictures come writer by writer, and a writer makes 30 or 50 % of the variance."""
    level = 0.05
    for writers, share, before in ((10, 0.3, 1.0), (10, 0.5, 1.0), (50, 0.3, 1.0)):
        hits = sum(_is_significant(writers, share, level, seed) for seed in range(looks))
        yield share_attack(f"pictures-of-{writers}-writers-{share:g}", "5", level, hits, looks, before)


def _is_significant(writers: int, share: float, level: float, seed: int) -> bool:
    generator = np.random.default_rng(seed)
    first, newest = (written(generator, writers, share, side) for side in ("a", "b"))
    tests = compare_samples(first, newest, {}, level)
    return any(holm_rejections([test.p_value for test in tests], level))


def written(
    generator: np.random.Generator, writers: int, share: float, side: str, shift: float = 0.0, n: int = 300
) -> FeatureSample:
    """Pictures of some writers as three plain numbers and an embedding; a share of the variance is the writer's."""
    writer = generator.integers(0, writers, n)
    hands = generator.normal(size=(writers, 19)) * share**0.5
    numbers = hands[writer] + generator.normal(size=(n, 19)) * (1 - share) ** 0.5 + shift
    features = {f"number {place}": numbers[:, place] for place in range(3)}
    return FeatureSample(features, numbers[:, 3:], tuple(f"{side}{number}" for number in writer))
