"""What people and machines are to be told about alerts of one rule; no channel's format, and it sends nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from monitors.alerts import Alert, Kind
from monitors.decisions.finding import NO_DATA
from monitors.rules import formatting
from monitors.rules.alerts_config import Rule, Severity

MOST_THUMBNAILS: Final = 6
MOST_NAMED: Final = 20
LONGEST_TITLE: Final = 140
LONGEST_TEXT: Final = 100_000
LEAST_ABOUT: Final = 24
"""Characters of a title that are left to say what it is about, however long its rule's name is."""
_HEADLINE: Final[Mapping[Kind, str]] = {
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
    """A misread picture as PNG, what was read in it, and its address where it has one."""

    prediction_id: str
    caption: str
    png: bytes
    url: str = ""


class Told(Protocol):
    """What channels for people read of any notice: about alerts (`Notice`), or a version that was sent back."""

    @property
    def kind(self) -> str: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def title(self) -> str: ...
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
    def threads(self) -> tuple[str, ...]: ...
    @property
    def at(self) -> datetime: ...
    @property
    def idempotency_key(self) -> str: ...


class SingleNotice:
    """What notices share that stand for themselves: links as given, and no thread of earlier notices to join."""

    links: Mapping[str, str]

    @property
    def all_links(self) -> dict[str, str]:
        return dict(self.links)

    @property
    def threads(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Notice:
    """One thing to say about alerts of one rule and version; one idempotency key is one notice, however often sent.

    `confused` holds at most one phrase per subject, such as "3 read as 5, 14 of 20 errors"; `others` are the rule's
    alerts that fire on without news, for receivers that want the whole group.
    """

    kind: Kind
    rule: Rule
    subjects: tuple[Subject, ...]
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str
    confused: tuple[str, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    others: tuple[Subject, ...] = ()

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
        about = about_keys(self.rule, keys, max(LEAST_ABOUT, LONGEST_TITLE - len(before) - len(after) - 3))
        return formatting.cleaned(f"{before}{f' ({about})' if about else ''}{after}")

    @property
    def sentences(self) -> list[str]:
        """What was found, alert by alert."""
        return [subject.sentence for subject in self.subjects]

    @property
    def facts(self) -> dict[str, str]:
        """The numbers in plain words, in the order they are read."""
        alert, rule = self.first, self.rule
        one = len(self.subjects) == 1
        numbers = numbers_of(rule, alert) if one else _one_line_each(rule, self.subjects)
        shared = {
            "Most confused": "; ".join(self.confused),
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
        return f"Repeats every {formatting.duration(self.rule.repeat)} until somebody acknowledges it."

    @property
    def all_links(self) -> dict[str, str]:
        return {**self.links, **({"Runbook": self.rule.runbook} if self.rule.runbook else {})}


def idempotency_key(alerts: Sequence[Alert], kind: Kind, evaluation_id: str) -> str:
    """The identity of a notice, the same for every attempt to send it.

    One alert's notices are counted by the alert; several alerts have in common that one evaluation moved them.
    """
    if len(alerts) == 1:
        return f"{alerts[0].id}-{kind}-{alerts[0].notices}"
    return f"{evaluation_id}-{kind}"


def said(notice: Told, longest: int, clean: Callable[[str], str] = formatting.cleaned) -> list[str]:
    """What a notice says, in whole sentences as far as they fit so many characters; the others are counted."""
    noun = "alert" if isinstance(notice, Notice) else "sentence"
    return formatting.sentences_within([clean(each) for each in notice.sentences], MOST_NAMED, longest, noun)


def facts_of(notice: Told) -> dict[str, str]:
    """A notice's facts, of which names may come from outside, without characters that nobody sees."""
    return {formatting.cleaned(name): formatting.cleaned(value) for name, value in notice.facts.items()}


def about_keys(rule: Rule, keys: Sequence[str], longest: int = LONGEST_TITLE) -> str:
    """What a rule's alerts are about: "class 3", "classes 3, 5, 8", "scanner flatbed", or nothing for the whole.

    Keys that do not fit so many characters are counted.
    """
    named = [formatting.cleaned(key) for key in keys if key]
    if not named or NO_DATA in named:
        return formatting.listed_within(named, MOST_NAMED, longest) if named else ""
    nouns = {"whole": "", "class": "class " if len(named) == 1 else "classes ", "tag": f"{rule.by} "}
    noun = nouns[rule.kind.key]
    return f"{noun}{formatting.listed_within(named, MOST_NAMED, longest - len(noun))}"


def numbers_of(rule: Rule, alert: Alert) -> dict[str, str]:
    """The numbers of one alert in plain words."""
    metric = rule.metric
    limits = f"Interval ({100 * rule.confidence:.7g} % each side)"
    interval = {} if rule.kind.counted else {limits: formatting.interval(metric, alert.low, alert.high)}
    return {
        "Value": formatting.amount(metric, alert.value),
        **interval,
        "Baseline": formatting.baseline(metric, alert.baseline),
        "Allowed": formatting.amount(metric, alert.threshold),
        "Samples": f"{alert.n:,}{rule.where}",
    }


def plain_text(notice: Told) -> str:
    """The whole notice but its title, for whoever reads plain text."""
    facts = "\n".join(f"{name}: {value}" for name, value in facts_of(notice).items())
    pictures = "\n".join(f"{formatting.cleaned(each.caption)} {each.url}".rstrip() for each in notice.thumbnails)
    worst = f"Worst errors:\n{pictures}" if pictures else ""
    links = "\n".join(f"{name}: {url}" for name, url in notice.all_links.items())
    parts = ("\n".join(said(notice, LONGEST_TEXT)), facts, worst, links, notice.reminder)
    return "\n\n".join(part for part in parts if part)


def _one_line_each(rule: Rule, subjects: Sequence[Subject]) -> dict[str, str]:
    lines, rest = dict[str, str](), len(subjects) - MOST_NAMED
    for subject in subjects[:MOST_NAMED]:
        alert, metric = subject.alert, rule.metric
        limits = formatting.interval(metric, alert.low, alert.high)
        name = about_keys(rule, [alert.key]) or alert.id
        lines[name] = f"{formatting.amount(metric, alert.value)} ({limits}), {formatting.counted(alert.n, 'sample')}"
    lines |= {"Further": f"{formatting.counted(rest, 'alert')} more"} if rest > 0 else {}
    return lines | {"Allowed": formatting.amount(rule.metric, subjects[0].alert.threshold)}
