"""The model card as Markdown: what a version is, what it may be used for, and how well it does.

Sections follow Mitchell et al., "Model Cards for Model Reporting" (2019); the header is the metadata block
that Hugging Face reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from hashlib import sha256

import yaml

from registry.card_changes import change_summary
from registry.errors import CardError
from registry.gate.paired_comparison import exact_bounds
from registry.gate.verdict import Verdict

INTERVAL_TAIL = 0.025
RESULT_TEXT = {True: "passed", False: "failed", None: "not settled"}


@dataclass(frozen=True)
class DataUse:
    """One data set and its role: train, validation, golden, feedback."""

    role: str
    name: str
    digest: str
    rows: int


@dataclass(frozen=True)
class FeedbackUse:
    """The people's labels that went into training: how many, and which, as a digest over their ids."""

    count: int
    digest: str

    @classmethod
    def of(cls, feedback_ids: Iterable[str]) -> "FeedbackUse":
        ids = sorted(set(feedback_ids))
        return cls(len(ids), sha256("\n".join(ids).encode()).hexdigest())


@dataclass(frozen=True)
class ClassResult:
    """How one class did on the golden set; `correct` of `rows` were found."""

    name: str
    rows: int
    correct: int
    precision: float
    f1: float


@dataclass(frozen=True)
class CardSection:
    """What was measured about one side of a model: a note, and a table where `header` is given."""

    note: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """Everything a card says. `details` and `metrics` are shown as tables in their own order."""

    name: str
    summary: str
    license: str
    task: str
    """As model hubs name it, such as image-classification."""
    tags: tuple[str, ...]
    details: Mapping[str, str]
    intended_use: str
    factors: str
    metrics: Mapping[str, float]
    metrics_note: str
    training_data: tuple[DataUse, ...]
    feedback: FeedbackUse
    evaluation_data: tuple[DataUse, ...]
    classes: tuple[ClassResult, ...]
    verdict: Verdict
    ethics: str
    caveats: str
    intervals: Mapping[str, tuple[float, float]]
    """95 % limits of the metrics that have them."""
    calibration: CardSection
    fairness: CardSection
    robustness: CardSection
    latency: CardSection
    contact: str
    columns: CardSection | None = None
    """What each column of a table does to the answers; None for inputs without columns."""


def render_card(card: ModelCard) -> str:
    """The card as Markdown; CardError names every section that would be empty."""
    sections = {
        "Model details": _key_value_table(("Field", "Value"), card.details),
        "Intended use": card.intended_use,
        "Factors": card.factors,
        "Metrics": _paragraphs(
            card.metrics_note,
            _metric_table(card),
        ),
        "Training data": _paragraphs(_data_table(card.training_data), _feedback_text(card.feedback)),
        "Evaluation data": _data_table(card.evaluation_data),
        "Quantitative analyses": _class_table(card.classes),
        "Calibration": _section_text(card.calibration),
        "Fairness": _section_text(card.fairness),
        "Robustness": _section_text(card.robustness),
        **({} if card.columns is None else {"Columns": _section_text(card.columns)}),
        "Latency and size": _section_text(card.latency),
        "Gate verdict": _verdict_text(card.verdict),
        "Ethical considerations": card.ethics,
        "Caveats and recommendations": card.caveats,
        "Contact": card.contact,
        "Licence": card.license,
    }
    empty = [title for title, body in {"Summary": card.summary, **sections}.items() if not body.strip()]
    if empty:
        raise CardError(f"The card of {card.name!r} has nothing under: {', '.join(empty)}. Fill these in.")
    parts = [_header(card), f"# {card.name}", card.summary.strip()]
    parts += [f"## {title}\n\n{body.strip()}" for title, body in sections.items()]
    return "\n\n".join(parts) + "\n"


def without_header(text: str) -> str:
    """A rendered card without its metadata block, for pages that show Markdown only."""
    return text.split("\n---\n", 1)[-1].lstrip("\n") if text.startswith("---\n") else text


def card_diff(before: str, after: str, names: tuple[str, str]) -> str:
    """What changed from one rendered card to another: what is grave first, then a unified diff; empty for nothing."""
    lines = unified_diff(before.splitlines(), after.splitlines(), *names, n=0, lineterm="")
    return "\n".join([*filter(None, [change_summary(before, after)]), *lines])


def with_production(text: str, production: CardSection) -> str:
    """A rendered card with what use has shown since, in a section of its own before the ethical considerations."""
    section = f"## In production\n\n{_section_text(production).strip()}\n\n"
    mark = "## Ethical considerations\n"
    return text.replace(mark, section + mark, 1) if mark in text else f"{text.rstrip()}\n\n{section.rstrip()}\n"


def _header(card: ModelCard) -> str:
    golden = card.evaluation_data[0].name if card.evaluation_data else "none"
    result = {
        "task": {"type": card.task},
        "dataset": {"name": golden, "type": golden},
        "metrics": [{"type": name, "value": round(value, 6)} for name, value in card.metrics.items()],
    }
    header = {
        "license": card.license,
        "tags": list(card.tags),
        "model-index": [{"name": card.name, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---"


def _metric_table(card: ModelCard) -> str:
    rows = []
    for name, value in card.metrics.items():
        limits = card.intervals.get(name)
        rows.append((name, f"{value:.4f}", f"{limits[0]:.4f} to {limits[1]:.4f}" if limits else "none"))
    return _table(("Metric", "Value", "95 % interval"), rows)


def _section_text(measured: CardSection) -> str:
    if not measured.header:
        return measured.note
    return _paragraphs(measured.note, _table(measured.header, measured.rows))


def _data_table(uses: Sequence[DataUse]) -> str:
    rows = [(use.role, use.name, str(use.rows), f"`{use.digest[:16]}`") for use in uses]
    return _table(("Role", "Data set", "Rows", "sha256"), rows)


def _feedback_text(feedback: FeedbackUse) -> str:
    if not feedback.count:
        return "No labelled feedback was used."
    return f"Labelled feedback used: {feedback.count} answers, sha256 of their ids `{feedback.digest[:16]}`."


def _class_table(lines: Sequence[ClassResult]) -> str:
    header = ("Class", "Rows", "Recall", "95 % interval", "Precision", "F1")
    return _table(header, [_class_row(line) for line in lines])


def _class_row(line: ClassResult) -> tuple[str, ...]:
    low, high = exact_bounds(line.correct, line.rows, INTERVAL_TAIL)
    recall = f"{line.correct / line.rows:.3f}" if line.rows else "no rows"
    interval = f"{low:.3f} to {high:.3f}"
    return (line.name, str(line.rows), recall, interval, f"{line.precision:.3f}", f"{line.f1:.3f}")


def _verdict_text(verdict: Verdict) -> str:
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    checks = [(check.name, RESULT_TEXT[check.passed], check.detail) for check in verdict.checks]
    return _paragraphs(f"**{verdict.outcome}**", reasons, _table(("Check", "Result", "Finding"), checks))


def _key_value_table(header: tuple[str, str], values: Mapping[str, str]) -> str:
    return _table(header, list(values.items()))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())


def _paragraphs(*parts: str) -> str:
    """The parts as paragraphs; empty when any of them is, so that no half section passes."""
    return "\n\n".join(parts) if all(part.strip() for part in parts) else ""
