"""Plays streams of labels to the detectors of a rule, evaluation by evaluation, as the watcher and a backtest do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mlplatform.feedback.label_history import LabelEvent
from mlplatform.monitoring.backtest.history_windows import LabelTimeline
from monitors.decisions.detectors.label_detector import LabelDetector, restart
from monitors.decisions.detectors.label_reading import ReadPosition, plan_reading
from monitors.decisions.detectors.rule_detectors import update_detectors
from monitors.rules.alerts_config import Rule, Source
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Outcome

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
NO_LIMIT = 10**9


@dataclass
class LabelStream:
    """Labels of answers, in days since START; `given` sorts them by when they become known."""

    events: list[tuple[float, LabelEvent]] = field(default_factory=list)

    def add(
        self,
        key: str,
        at: float,
        known: float,
        source: Source,
        *,
        wrong: bool,
        chance: float = 1.0,
        smallest_chance: float = 1.0,
        request: str = "",
    ) -> None:
        """One label: of the answer `key` given at a day, known at another; an audited one was drawn with a chance."""
        is_audit = source == "audit"
        row = Outcome(
            seq=0,
            prediction_id=key,
            at=START + at * DAY,
            known_at=START + known * DAY,
            label="5" if wrong else "3",
            truth="3",
            source=source,
            source_sequence={},
            confidence=0.9,
            weight=1 / chance if is_audit else 1.0,
            share=smallest_chance / chance if is_audit else 1.0,
            request_id=request,
            loss=float(wrong),
        )
        self.events.append((known, LabelEvent(row.known_at, row, (source,))))

    def timeline(self) -> LabelTimeline:
        """The labels as they become known; the better source says the truth from then on."""
        told: dict[str, Outcome] = {}
        ordered = []
        for _, event in sorted(self.events, key=lambda pair: pair[0]):
            best = told.get(event.outcome.prediction_id)
            outcome = event.outcome
            if best is not None and best.source == "audit":
                outcome = Outcome(**{**vars(best), "known_at": event.at})
            told[outcome.prediction_id] = outcome
            ordered.append(LabelEvent(event.at, outcome, event.new_sources))
        return LabelTimeline(ordered)


def alarms(
    rule: Rule,
    baseline: Baseline,
    stream: LabelStream,
    days: Iterable[float],
    *,
    classes: Sequence[str] = tuple("0123456789"),
    most: int = NO_LIMIT,
) -> list[float]:
    """The days on which the rule alarms, evaluated on these days; each alarm is settled at once."""
    labels, found = stream.timeline(), list[float]()
    detectors: dict[str, LabelDetector] = {}
    position = ReadPosition()
    for day in days:
        now = START + day * DAY
        labels.advance_to(now)
        rows, _ = labels.since(position.cursor, NO_LIMIT)
        reading = plan_reading(rule, position, rows, now)
        span = reading.matured_span
        rows += [] if span is None else labels.between(*span)
        detectors = update_detectors(rule, baseline, classes, detectors, rows, reading, START)
        position = reading.after
        for name, detector in detectors.items():
            if detector.alarmed_at is not None:
                found.append(day)
                detectors[name] = restart(detector, now)
        if len(found) >= most:
            break
    return found
