"""Replays a stream of rows under the platform's decisions: alarm, retraining, gate, promotion, probation, rollback.

Detectors, gate and probation are the platform's own functions; the registry is in memory and time is that of the rows.
Every label is known at the end of its answer's day. An alarm starts a retraining on all rows until then, and after so
many in a row that brought nothing none is started by itself (`retraining.breaker`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.tables.stream import DAY, Flags, TableStream, Trained, Versions, blind_monthly
from monitors.decisions.version_comparison import ComparisonTerms, DifferingAnswer, compare_versions
from monitors.windows.window import Baseline
from tests.support.label_streams import START, LabelStream, alarms

BINARY: Final = ("3", "5")
"""The two classes of `LabelStream`: right and wrong."""
MONTH_DAYS: Final = 30
HARM: Final = 0.01
"""A promotion is harmful where the next month has so many more errors than the version before would have made."""
BLIND_DAYS: Final = 45.0


@dataclass(frozen=True)
class Promotion:
    """A version that took over on a day, the one before, and when it was rolled back."""

    version: int
    before: int
    day: float
    rolled_back: float | None


@dataclass
class Course:
    """What happened: which version answered from which day on, alarms, retrainings, promotions."""

    reigns: list[tuple[float, int]]
    alarms: list[float] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    promotions: list[Promotion] = field(default_factory=list)


def alarm_days(
    stream: TableStream, wrong: Flags, baseline: Baseline, block: str, since: float = 0.0, most: int = 10**9
) -> list[float]:
    """The days on which the rule alarms about one version that has answered since a day."""
    chosen = np.flatnonzero(stream.days >= since)
    labels = LabelStream()
    for place in chosen.tolist():
        day = float(stream.days[place] - since)
        labels.add(f"p{place}", day, day, "delayed", wrong=bool(wrong[place]))
    rule = stream.accuracy_rule(block)
    ends = range(1, int(np.ceil(stream.length - since)) + 2)
    return [since + day for day in alarms(rule, baseline, labels, ends, classes=BINARY, most=most)]


def run_platform(stream: TableStream, versions: Versions, first: Trained, block: str) -> Course:
    """The whole loop over the stream, by day or label by label."""
    course, unsuccessful = Course([(0.0, first.version)]), 0
    version, baseline, since = first.version, first.baseline, 0.0
    pending = alarm_days(stream, versions.wrong(version), baseline, block)
    while pending and since <= stream.length:
        day = pending.pop(0)
        course.alarms.append(day)
        if unsuccessful >= stream.rules.retraining.breaker or day > stream.length:
            continue
        candidate = versions.train(day, version)
        course.verdicts.append(candidate.outcome)
        say(stream, day, f"alarm about version {version}; version {candidate.version}: {candidate.outcome}")
        for reason in candidate.reasons:
            print(f"    {reason}", flush=True)
        if candidate.outcome != "promote":
            unsuccessful += 1
            continue
        unsuccessful = 0
        versions.promote(candidate.version)
        ended = rollback_day(stream, versions, candidate.version, version, day)
        course.promotions.append(Promotion(candidate.version, version, day, ended))
        course.reigns.append((day, candidate.version))
        if ended is not None:
            versions.quarantine(candidate.version)
            course.reigns.append((ended, version))
            say(stream, ended, f"version {candidate.version} is rolled back")
            since = ended
        else:
            version, baseline, since = candidate.version, candidate.baseline, day
        pending = alarm_days(stream, versions.wrong(version), baseline, block, since)
    return course


def rollback_day(stream: TableStream, versions: Versions, new: int, before: int, day: float) -> float | None:
    """When the probation proves a new version worse than the one before; None where it never does.

    Each row is a request of its own, which is one observation, as the rules' `probation.block` says. A week of days as
    seven observations could prove nothing.
    """
    policy = stream.rules.probation
    begun, end = START + timedelta(days=day), day + policy.period / timedelta(days=1)
    terms = ComparisonTerms(begun, begun + policy.period, policy.label_level, policy.early_margin, timedelta(0))
    chosen = np.flatnonzero((stream.days >= day) & (stream.days < end))
    difference = versions.wrong(new)[chosen].astype(int) - versions.wrong(before)[chosen].astype(int)
    answers = [
        _differing(place, float(stream.days[place]), lost)
        for place, lost in zip(chosen.tolist(), difference.tolist(), strict=True)
        if lost
    ]
    for now in np.arange(np.floor(day) + 1, end + 2):
        moment = START + timedelta(days=float(now))
        known = [answer for answer in answers if answer.at < moment]
        asked = int((stream.days[chosen] < now).sum())
        if compare_versions(known, asked, asked, terms, moment).proved_worse:
            return float(now)
    return None


def _differing(place: int, day: float, difference: int) -> DifferingAnswer:
    at = START + timedelta(days=day)
    return DifferingAnswer(at, f"p{place}", at, difference, delayed_at=at)


def wrong_of_course(stream: TableStream, versions: Versions, reigns: Sequence[tuple[float, int]]) -> Flags:
    """Which rows are answered wrongly by the version that answered at their time."""
    wrong = versions.wrong(reigns[0][1]).copy()
    for day, version in reigns[1:]:
        later = stream.days >= day
        wrong[later] = versions.wrong(version)[later]
    return wrong


def harmful(stream: TableStream, versions: Versions, promotions: Sequence[Promotion]) -> int:
    """How many promotions that stood were followed by a month with more errors than without them."""
    count = 0
    for each in promotions:
        month = (stream.days >= each.day) & (stream.days < each.day + MONTH_DAYS)
        if each.rolled_back is None and month.any():
            more = versions.wrong(each.version)[month].mean() - versions.wrong(each.before)[month].mean()
            count += bool(more > HARM)
            say(stream, each.day, f"version {each.version} makes {100 * more:+.2f} points errors in the next month")
    return count


def figures(stream: TableStream, folder: Path, only: str | None = None) -> dict[str, Any]:
    """Everything about one stream: by day, label by label, and beside it no retraining and a blind one each month.

    `only` leaves out one of both ways: block or label.
    """
    told: dict[str, Any] = {}
    later = stream.days >= 0
    for name, block in (("block", "1d"), ("label", "label")):
        if only not in (None, name):
            continue
        print(f"by {'day' if name == 'block' else 'label'}:", flush=True)
        versions = Versions(stream, folder / name, by_day=name == "block")
        first = versions.train(0.0, None)
        versions.promote(first.version)
        never = versions.wrong(first.version)
        found = alarm_days(stream, never, first.baseline, block)
        told |= {f"alarm_by_{name}": date_of(stream, found[0]) if found else None, f"alarms_{name}": len(found)}
        course = run_platform(stream, versions, first, block)
        wrong = wrong_of_course(stream, versions, course.reigns)
        ending = "" if name == "block" else "_by_label"
        told |= {
            f"retrainings{ending}": len(course.verdicts),
            f"promotions{ending}": len(course.promotions),
            f"rollbacks{ending}": sum(each.rolled_back is not None for each in course.promotions),
            f"harmful_promotions{ending}": harmful(stream, versions, course.promotions),
            f"error_platform{ending}": round(float(wrong[later].mean()), 4),
        }
        if name == "block":
            monthly = blind_monthly(stream, versions, never, BLIND_DAYS)
            told |= {
                "golden_accuracy": round(first.baseline.accuracy_correct / first.baseline.accuracy_total, 4),
                "error_never": round(float(never[later].mean()), 4),
                "error_monthly": round(float(monthly[later].mean()), 4),
                "errors_by_month": errors_by_month(stream, {"never": never, "monthly": monthly, "platform": wrong}),
            }
    budget = stream.accuracy_rule("1d").false_alarms
    assert budget is not None
    told["alarms_allowed"] = round(budget.count * timedelta(days=stream.length) / budget.period, 1)
    told["rows"] = int(later.sum())
    return told


def errors_by_month(stream: TableStream, wrong: dict[str, Flags]) -> dict[str, dict[str, float]]:
    """The share of errors in each month, by policy."""
    months = stream.frame[stream.pipeline.roles.time].dt.strftime("%Y-%m").to_numpy()
    later = stream.days >= 0
    return {
        month: {name: round(float(flags[later & (months == month)].mean()), 4) for name, flags in wrong.items()}
        for month in sorted(set(months[later]))
    }


def date_of(stream: TableStream, day: float) -> str:
    """The date of the last whole day that was read by then."""
    moment: datetime = stream.begins + timedelta(seconds=(day - 1) * DAY)
    return moment.date().isoformat()


def say(stream: TableStream, day: float, text: str) -> None:
    print(f"  {date_of(stream, day)}: {text}", flush=True)
