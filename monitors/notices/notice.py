"""The notice about alerts of one rule, and what channels read of any notice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from monitors.alerts import Alert, NoticeKind
from monitors.decisions.finding import NO_DATA
from monitors.notices.instructions import alert_instruction
from monitors.notices.trend import Trend
from monitors.rules import quantities
from monitors.rules.alerts_config import Rule, Severity

MAX_THUMBNAILS: Final = 6
MAX_CELLS: Final = 12
"""Columns of a row that a notice shows, the first ones."""
MAX_CELL_LENGTH: Final = 40
MAX_NAMED: Final = 20
MAX_TITLE_LENGTH: Final = 140
MAX_TEXT_LENGTH: Final = 100_000
MIN_SUBJECT_LENGTH: Final = 24
"""Characters of a title that are left to say what it is about, however long its rule's name is."""
_HEADLINE: Final[Mapping[NoticeKind, str]] = {
    "firing": "firing",
    "repeat": "still firing",
    "resolved": "resolved",
    "escalated": "nobody has taken this on",
}


@dataclass(frozen=True)
class Subject:
    """One alert of a notice, and the sentence about it."""

    alert: Alert
    sentence: str


@dataclass(frozen=True)
class Thumbnail:
    """A misread input and what was read in it: a picture as PNG, with its address where it has one, or a row."""

    prediction_id: str
    caption: str
    png: bytes | None
    url: str = ""
    cells: tuple[tuple[str, str], ...] = ()
    """Columns and values of a row, as people read them."""

    @property
    def shown_cells(self) -> dict[str, str]:
        """The first columns, and their values no longer than may be."""
        return {name: _shortened(value) for name, value in self.cells[:MAX_CELLS]}

    @property
    def text(self) -> str:
        """The caption on one line, and behind it the row, as long as may be."""
        caption = quantities.single_line(self.caption)
        values = [f"{_shortened(name)}: {value}" for name, value in self.shown_cells.items()]
        rest = len(self.cells) - MAX_CELLS
        more = [f"{rest} more columns"] if rest > 0 else []
        return f"{caption} ({', '.join([*values, *more])})" if values else caption


def _shortened(text: str) -> str:
    """On one line, and no longer than a table's cell should be."""
    line = quantities.single_line(text)
    return line if len(line) <= MAX_CELL_LENGTH else f"{line[: MAX_CELL_LENGTH - 1]}…"


class NoticeView(Protocol):
    """What channels for people read of any notice: about alerts (`Notice`), or a version that was sent back."""

    @property
    def kind(self) -> str: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def title(self) -> str: ...
    @property
    def instruction(self) -> str: ...
    @property
    def sentences(self) -> list[str]: ...
    @property
    def facts(self) -> dict[str, str]: ...
    @property
    def reminder(self) -> str: ...
    @property
    def all_links(self) -> dict[str, str]: ...
    @property
    def thumbnails(self) -> tuple[Thumbnail, ...]: ...
    @property
    def trend(self) -> Trend | None: ...
    @property
    def threads(self) -> tuple[str, ...]: ...
    @property
    def at(self) -> datetime: ...
    @property
    def idempotency_key(self) -> str: ...


class StandaloneNotice:
    """What notices share that stand for themselves: links as given, and no thread of earlier notices to join."""

    links: Mapping[str, str]

    @property
    def all_links(self) -> dict[str, str]:
        return dict(self.links)

    @property
    def threads(self) -> tuple[str, ...]:
        return ()

    @property
    def trend(self) -> Trend | None:
        return None


@dataclass(frozen=True)
class Notice:
    """One thing to say about alerts of one rule and version; one idempotency key is one notice, however often sent.

    `top_confusions` holds at most one phrase per subject, such as "3 read as 5, 14 of 20 errors"; `other_subjects`
    are the rule's alerts that fire on without news, for receivers that want the whole group.
    """

    kind: NoticeKind
    rule: Rule
    subjects: tuple[Subject, ...]
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    top_confusions: tuple[str, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    other_subjects: tuple[Subject, ...] = ()
    trend: Trend | None = None
    """How the value of the first alert went."""
    hold: str = ""
    """Why the retraining that the rule asks for does not start yet."""

    @property
    def first(self) -> Alert:
        """The alert that stands for what all of them share: rule, model, version, severity."""
        return self.subjects[0].alert

    @property
    def severity(self) -> Severity:
        return self.first.severity

    @property
    def threads(self) -> tuple[str, ...]:
        """What it belongs to, for mail programs: its alerts."""
        return tuple(subject.alert.id for subject in self.subjects)

    @property
    def title(self) -> str:
        alert, keys = self.first, [subject.alert.key for subject in self.subjects]
        before, after = f"{_HEADLINE[self.kind]}: {alert.rule}", f" · {alert.model} v{alert.version}"
        about = keys_text(self.rule, keys, max(MIN_SUBJECT_LENGTH, MAX_TITLE_LENGTH - len(before) - len(after) - 3))
        return quantities.single_line(f"{before}{f' ({about})' if about else ''}{after}")

    @property
    def instruction(self) -> str:
        """What to do now, for whoever it wakes."""
        acting = next((subject.alert for subject in self.subjects if subject.alert.key != NO_DATA), self.first)
        return alert_instruction(self.kind, self.rule, acting, self.hold)

    @property
    def sentences(self) -> list[str]:
        """What was found, alert by alert."""
        return [subject.sentence for subject in self.subjects]

    @property
    def facts(self) -> dict[str, str]:
        """The numbers in plain words, in the order they are read."""
        alert, rule = self.first, self.rule
        one = len(self.subjects) == 1
        numbers = alert_numbers(rule, alert) if one else _numbers_by_alert(rule, self.subjects)
        shared = {
            "Most confused": "; ".join(self.top_confusions),
            "Version": f"{alert.model} v{alert.version}",
            "Severity": alert.severity,
            "Action": rule.action,
            "False alarms": f"at most {rule.false_alarms.text}" if rule.false_alarms else "",
        }
        return numbers | {name: value for name, value in shared.items() if value}

    @property
    def reminder(self) -> str:
        """When this will be said again; nothing once it is over."""
        if self.kind == "resolved":
            return ""
        return f"Repeats every {quantities.duration_text(self.rule.repeat)} until somebody acknowledges it."

    @property
    def all_links(self) -> dict[str, str]:
        return {**self.links, **({"Runbook": self.rule.runbook} if self.rule.runbook else {})}


def idempotency_key(alerts: Sequence[Alert], kind: NoticeKind, evaluation_id: str) -> str:
    """The identity of a notice, the same for every attempt to send it.

    One alert's notices are counted by the alert; several alerts have in common that one evaluation moved them.
    """
    if len(alerts) == 1:
        return f"{alerts[0].id}-{kind}-{alerts[0].notices}"
    return f"{evaluation_id}-{kind}"


def notice_sentences(
    notice: NoticeView, longest: int, clean: Callable[[str], str] = quantities.single_line
) -> list[str]:
    """What a notice says, in whole sentences as far as they fit so many characters; the others are counted."""
    noun = "alert" if isinstance(notice, Notice) else "sentence"
    return quantities.sentences_within([clean(sentence) for sentence in notice.sentences], MAX_NAMED, longest, noun)


def clean_facts(notice: NoticeView) -> dict[str, str]:
    """A notice's facts, of which names may come from outside, without characters that nobody sees."""
    return {quantities.single_line(name): quantities.single_line(value) for name, value in notice.facts.items()}


def keys_text(rule: Rule, keys: Sequence[str], longest: int = MAX_TITLE_LENGTH) -> str:
    """What a rule's alerts are about: "class 3", "classes 3, 5, 8", "scanner flatbed", or nothing for the whole.

    Keys that do not fit so many characters are counted.
    """
    named = [quantities.single_line(key) for key in keys if key]
    if not named or NO_DATA in named:
        return quantities.join_names_within(named, MAX_NAMED, longest) if named else ""
    nouns = {
        "whole": "",
        "class": "class " if len(named) == 1 else "classes ",
        "tag": f"{rule.by} ",
        "column": "column " if len(named) == 1 else "columns ",
    }
    noun = nouns[rule.metric_spec.key_type]
    return f"{noun}{quantities.join_names_within(named, MAX_NAMED, longest - len(noun))}"


def alert_numbers(rule: Rule, alert: Alert) -> dict[str, str]:
    """The numbers of one alert in plain words."""
    metric = rule.metric
    limits = f"Interval ({100 * rule.confidence:.7g} % each side)"
    interval = (
        {} if rule.metric_spec.is_exact_count else {limits: quantities.interval_text(metric, alert.low, alert.high)}
    )
    return {
        "Value": quantities.metric_value_text(metric, alert.value),
        **interval,
        "Baseline": quantities.baseline_text(metric, alert.baseline),
        "Allowed": quantities.metric_value_text(metric, alert.threshold),
        "Samples": f"{alert.n:,}{rule.slice_text}",
    }


def plain_text_body(notice: NoticeView) -> str:
    """The whole notice but its title, for whoever reads plain text; its first line says what to do."""
    facts = "\n".join(f"{name}: {value}" for name, value in clean_facts(notice).items())
    errors = "\n".join(f"{thumbnail.text} {thumbnail.url}".rstrip() for thumbnail in notice.thumbnails)
    worst = f"Worst errors:\n{errors}" if errors else ""
    links = "\n".join(f"{name}: {url}" for name, url in notice.all_links.items())
    said = "\n".join(notice_sentences(notice, MAX_TEXT_LENGTH))
    trend = notice.trend.text if notice.trend else ""
    parts = (quantities.single_line(notice.instruction), said, trend, facts, worst, links, notice.reminder)
    return "\n\n".join(part for part in parts if part)


def _numbers_by_alert(rule: Rule, subjects: Sequence[Subject]) -> dict[str, str]:
    lines, rest = dict[str, str](), len(subjects) - MAX_NAMED
    for subject in subjects[:MAX_NAMED]:
        alert, metric = subject.alert, rule.metric
        limits = quantities.interval_text(metric, alert.low, alert.high)
        name = keys_text(rule, [alert.key]) or alert.id
        lines[name] = (
            f"{quantities.metric_value_text(metric, alert.value)} ({limits}), "
            f"{quantities.count_text(alert.n, 'sample')}"
        )
    lines |= {"Further": f"{quantities.count_text(rest, 'alert')} more"} if rest > 0 else {}
    return lines | {"Allowed": quantities.metric_value_text(rule.metric, subjects[0].alert.threshold)}
