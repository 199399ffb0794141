"""A stream played on a stage: what was found, when, at what cost, and what renewal brought; it prints nothing."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.gym.scenarios import OLD, PER_HOUR, Scenario
from benchmarks.gym.stage import CLASS_LIMIT, START, Shown, Stage
from mlplatform.retraining import retraining_queue
from monitors.alerts import Alert
from monitors.decisions.finding import NO_DATA

WATCHED = ("accuracy-drop", "class-error")
POISON_PER_HOUR = 4
POISONERS = 3
ASKED_EVERY = 120
COMPLAINING = 0.6
WRONG_AFTER = timedelta(days=1)
RIGHT_AFTER = timedelta(days=7)
"""Complaints first: how long after its answer a label comes where the answer was wrong, and where it was right."""
HARM = 0.003


@dataclass(frozen=True)
class Promotion:
    """A change of champion: accuracies on the world of that day and on the old one, before and after."""

    day: float
    version: int
    world: tuple[float, float]
    old: tuple[float, float]

    @property
    def is_harmful(self) -> bool:
        return self.world[1] < self.world[0] - HARM


@dataclass
class Played:
    """What became of one stream."""

    scenario: str
    seed: int
    evaluations: int = 0
    false_alarms: int = 0
    fired: list[str] = field(default_factory=list)
    """Of alarms before any change: rule, class, day, and whether the model was beyond what the rule allows."""
    standing: int = 0
    """Alarms about what was beyond its rule's limit from the start: true, and of no change."""
    found_day: float | None = None
    delay_labels: int | None = None
    labels: int = 0
    wrong: list[int] = field(default_factory=list)
    """One bit per label of the first version, in order, to the end of the stream: what the rivals read."""
    known_by_day: list[int] = field(default_factory=list)
    """How many of them were known at the end of each day."""
    changed_at: int | None = None
    """The number of labels known when the world changed."""
    promotions: list[Promotion] = field(default_factory=list)
    retrainings: int = 0
    rollbacks: int = 0
    accuracy: dict[str, float] = field(default_factory=dict)
    days: list[tuple[float, float, int]] = field(default_factory=list)
    """Day, true accuracy on what is shown, version: for the plots."""


def play(stage: Stage, scenario: Scenario, *, renews: bool, keep: Path | None = None) -> Played:
    """Play a stream to its end; where nothing is renewed, to our alarm, and from there on for the rivals alone.

    `keep` is a file for the first version's probabilities, (answers, classes), in their order.
    """
    played, shown = Played(scenario.name, stage.seed), list[Shown]()
    stood = standing(stage, scenario)
    stage.plan()
    for hour in range(int(scenario.days * 24)):
        stage.clock.now += timedelta(hours=1)
        day = (stage.clock.now - START) / timedelta(days=1)
        if scenario.changes and played.changed_at is None and day >= scenario.changes[0]:
            played.changed_at = len(stage.known)
        pictures = scenario.pictures(stage.atlas, day, stage.draw)
        shown += pictures
        ids = stage.serve(pictures, scenario.slowness(day))
        _feedback(stage, scenario, ids)
        stage.review(scenario.lag)
        stage.label_what_is_due()
        if hour % 24 == 0:
            stage.plan()
        stage.evaluate((*WATCHED, "latency") if scenario.rule == "latency" else WATCHED)
        played.evaluations += 1
        if hour % 24 == 23:
            played.known_by_day.append(len(stage.known))
        if scenario.feedback == "poison" and hour % ASKED_EVERY == ASKED_EVERY - 1:
            _ask(stage)
        _look(stage, scenario, played, day, stood)
        if played.found_day is not None and not renews:
            break
        if renews:
            played.retrainings += stage.renew(lambda old, new: _promoted(stage, scenario, played, day, old, new))  # noqa: B023
            before = stage.version
            if before > 1:
                stage.look_after()
                played.rollbacks += stage.version != before
            if hour % 12 == 0:
                now = stage.accuracy(stage.version, scenario.mixture(day))
                played.days.append((day, now, stage.version))
    played.labels = len(stage.known)
    played.wrong = [int(each.wrong) for each in stage.known if each.version == 1]
    if renews:
        _measure(stage, scenario, played)
    else:
        shown += _went_on(stage, scenario, played, len(shown) // PER_HOUR)
        if keep is not None:
            np.save(keep, stage.shares(shown))
    return played


def _went_on(stage: Stage, scenario: Scenario, played: Played, hours: int) -> list[Shown]:
    """What is shown after our alarm, with the labels that would come if nobody had done anything."""
    rest = list[Shown]()
    for hour in range(hours, int(scenario.days * 24)):
        pictures = scenario.pictures(stage.atlas, (hour + 1) / 24, stage.draw)
        labelled = [each for each in pictures if stage.draw.random() < scenario.per_day / (24 * PER_HOUR)]
        played.wrong += [int(stage.is_wrong(each)) for each in labelled]
        rest += pictures
        if hour % 24 == 23:
            played.known_by_day.append(len(played.wrong))
    return rest


def standing(stage: Stage, scenario: Scenario) -> frozenset[tuple[str, str]]:
    """The rules, with the class, that the first version breaks while the world is still well: their alarms are true.

    A small first version misreads more of some class than its rule allows. What is allowed is known, and so is how many
    of the pictures that are drawn from are misread, so this is no estimate.
    """
    well = int(scenario.changes[0] if scenario.changes else scenario.days)
    worlds = {tuple(sorted(scenario.mixture(float(day)).items())): None for day in range(well)}
    broken = set[tuple[str, str]]()
    for world in map(dict, worlds):
        classes = stage.misread_classes(world)
        broken |= {("class-error", name) for name, share in classes.items() if share > CLASS_LIMIT}
        if 1 - stage.accuracy(1, world, "stream") > stage.allowed:
            broken.add(("accuracy-drop", ""))
    return frozenset(broken)


def _look(stage: Stage, scenario: Scenario, played: Played, day: float, stood: Collection[tuple[str, str]]) -> None:
    """Tell an alarm that was right from one that was not; what was broken from the start counts for neither."""
    rules = ("latency",) if scenario.rule == "latency" else WATCHED
    fired = [alert for rule in rules for alert in stage.fired(rule) if alert.key != NO_DATA and alert.version == 1]
    played.standing = sum((alert.rule, alert.key) in stood for alert in fired)
    began = scenario.changes[0] if scenario.changes else float("inf")
    played.fired = [_alarm_text(alert, stood) for alert in fired if _day(alert) < began]
    moments = sorted(_day(alert) for alert in fired if (alert.rule, alert.key) not in stood)
    played.false_alarms = sum(moment < began for moment in moments)
    right = [moment for moment in moments if moment >= began]
    if right and played.found_day is None:
        played.found_day = day
        played.delay_labels = len(stage.known) - (played.changed_at or 0)


def _day(alert: Alert) -> float:
    assert alert.fired_at is not None  # `fired` gives no other
    return (alert.fired_at - START) / timedelta(days=1)


def _alarm_text(alert: Alert, stood: Collection[tuple[str, str]]) -> str:
    truth = "beyond its limit" if (alert.rule, alert.key) in stood else "within its limit"
    return f"{' '.join(filter(None, (alert.rule, alert.key)))} on day {_day(alert):.1f}, {truth}"


def _feedback(stage: Stage, scenario: Scenario, ids: list[str]) -> None:
    """What comes in without being asked for: complaints about errors, lies, whole sheets, or the truth in time."""
    if scenario.feedback == "sheets":
        sheets = sorted({stage.sheet(key) for key in ids})
        chance = scenario.per_day / (24 * PER_HOUR)
        checked = {sheet for sheet in sheets if stage.draw.random() < chance}
        stage.label([(key, stage.truth_of(key)) for key in ids if stage.sheet(key) in checked], "delayed", "ledger")
    if scenario.feedback == "complaints-first":
        chance = scenario.per_day / (24 * PER_HOUR)
        stage.await_truth([key for key in ids if stage.draw.random() < chance], WRONG_AFTER, RIGHT_AFTER)
    if scenario.feedback == "complaints":
        wrong = [key for key in ids if stage.said(key) != stage.truth_of(key) and stage.draw.random() < COMPLAINING]
        stage.label([(key, stage.truth_of(key)) for key in wrong], "correction", "customer")
    if scenario.feedback == "poison":
        for number, key in enumerate(stage.draw.choice(ids, POISON_PER_HOUR, replace=False)):
            lie = str((int(stage.truth_of(key)) + 5) % 10)
            stage.label([(key, lie)], "correction", f"mallory-{number % POISONERS}")


def _ask(stage: Stage) -> None:
    """A person asks for a retraining, so that what was fed in gets its chance to do harm."""
    with stage.context.database.write() as connection:
        retraining_queue.request(
            connection, pipeline="digits", reason="asked by the gym", trigger="manual", requested_by="gym",
            now=stage.clock(),
        )  # fmt: skip


def _promoted(stage: Stage, scenario: Scenario, played: Played, day: float, old: int, new: int) -> None:
    world = scenario.mixture(day)
    played.promotions.append(
        Promotion(
            day,
            new,
            (stage.accuracy(old, world), stage.accuracy(new, world)),
            (stage.accuracy(old, OLD), stage.accuracy(new, OLD)),
        )
    )


def _measure(stage: Stage, scenario: Scenario, played: Played) -> None:
    """Accuracies on pictures that were never served: first and last version, in the last and in the old world."""
    last = scenario.mixture(scenario.changes[-1] + 10.1) if scenario.changes else scenario.mixture(scenario.days)
    end = stage.version
    played.accuracy = {
        "before": stage.accuracy(1, OLD),
        "drifted": stage.accuracy(1, last),
        "after": stage.accuracy(end, last),
        "old_after": stage.accuracy(end, OLD),
        "version": float(end),
    }
