"""The pages of versions: all of them with what may be done, and two of them side by side."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.operations import queries
from mlplatform.operations.operator_actions import diff_model_cards
from mlplatform.operations.views import VersionView
from mlplatform.promotion import promotion_history, quarantines
from mlplatform.web import model_series
from mlplatform.web.model_series import Accuracy, ModelSeries
from mlplatform.web.rendering import render_page
from mlplatform.web.time_ranges import TimeRange, time_range
from mlplatform.web.version_changes import load_changes
from monitors.rules.quantities import milliseconds_text, percent_text
from monitors.statistics.intervals import clopper_pearson
from registry.errors import GateError, RegistryError
from registry.gate.checks import GateCheck
from registry.gate.verdict import Verdict

PRODUCTION_RANGE: Final = "90d"
"""The time whose labels are compared."""
CANARY_SHARES: Final = (1, 5, 10, 25, 50)
"""Per cent of the clients that a canary is offered."""
VERDICT_FILE: Final = "verdict.json"
CHECK_TEXTS: Final[Mapping[bool | None, str]] = {True: "passed", False: "failed", None: "not settled"}


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval, of `n`; `source` says what it was counted from."""

    value: float
    low: float
    high: float
    n: int

    @property
    def text(self) -> str:
        """All of it in words."""
        return f"{percent_text(self.value)} ({percent_text(self.low)} to {percent_text(self.high)}), {self.n:,}"


@dataclass(frozen=True)
class VersionFacts:
    """What is known of one version: figures by name, its share of right answers by class, and the gate's verdict."""

    view: VersionView
    golden: Share | None
    production: Share | None
    source: str
    latency: str
    classes: Mapping[str, Share]
    verdict: Verdict | None
    verdict_text: str


@dataclass(frozen=True)
class Row:
    """One line of a comparison: what both versions have, and whether their intervals lie apart."""

    name: str
    before: str
    after: str
    change: str = ""
    is_apart: bool = False


@dataclass(frozen=True)
class CheckRow:
    """One check of the gate, for a page."""

    name: str
    state: str
    detail: str


def versions_page(context: AppContext, form_token: str) -> str:
    """The versions of the served model with the forms to promote, roll back and set apart."""
    overview = queries.model_overview(context)
    with context.database.read() as connection:
        history = promotion_history.promotion_history(connection, context.model_name, limit=10_000)
        apart = quarantines.quarantined_versions(connection, context.model_name)
    target = promotion_history.rollback_target(history, apart) if history else None
    chosen = [version.version for version in overview.versions][:2]
    return render_page(
        "versions.html",
        path="/versions",
        title=f"Versions of {overview.model}",
        section="Versions",
        overview=overview,
        golden={version.version: _golden(version) for version in overview.versions},
        before=chosen[-1] if chosen else 0,
        after=chosen[0] if chosen else 0,
        champion=overview.champion or 0,
        rollback_target=target,
        form_token=form_token,
    )


def version_page(context: AppContext, version: int, form_token: str) -> str:
    """One version: its figures, the gate's findings, and the forms; raises NotFoundError."""
    overview = queries.model_overview(context)
    view = _find(overview.versions, version)
    facts = load_facts(context, [view])[0]
    waiting = [each for each in overview.approvals if each.state == "waiting" and each.version == version]
    return render_page(
        "version.html",
        path=f"/versions/{version}",
        title=f"Version {version} of {overview.model}",
        section="Versions",
        facts=facts,
        view=view,
        figures=_figures(facts),
        checks=_checks(facts),
        champion=overview.champion or 0,
        approval=next(iter(waiting), None),
        trial=overview.trial if overview.trial is not None and overview.trial.state == "running" else None,
        shares=CANARY_SHARES,
        passed_gate=view.tags.get("gate") == "promote",
        form_token=form_token,
    )


def comparison_page(context: AppContext, before: int, after: int) -> str:
    """Two versions side by side; raises NotFoundError."""
    overview = queries.model_overview(context)
    views = [_find(overview.versions, version) for version in (before, after)]
    old, new = load_facts(context, views)
    return render_page(
        "version_comparison.html",
        path="/versions/compare",
        title=f"Version {after} compared with version {before}",
        section="Versions",
        before=before,
        after=after,
        rows=_compared_figures(old, new),
        classes=_compared_classes(old.classes, new.classes),
        source=new.source or old.source,
        changes=load_changes(context, views[0], views[1], time_range(PRODUCTION_RANGE)),
        findings=[(facts.view.version, facts.verdict_text, _checks(facts)) for facts in (new, old)],
        card_diff=_card_diff(context, before, after),
    )


def load_facts(context: AppContext, views: Sequence[VersionView]) -> list[VersionFacts]:
    """Read what is known of versions: their counts in production, and what the gate said of them."""
    now, period = context.clock(), time_range(PRODUCTION_RANGE)
    with context.database.read() as connection:
        series = [_series(connection, view, period, now) for view in views]
    return [_facts(context, view, counted) for view, counted in zip(views, series, strict=True)]


def _series(connection: Connection, view: VersionView, period: TimeRange, now: datetime) -> ModelSeries:
    return model_series.load_series(connection, view.name, [view.version], period, now)


def _facts(context: AppContext, view: VersionView, series: ModelSeries) -> VersionFacts:
    cells = defaultdict(list)
    for cell in series.outcomes:
        cells[cell.truth].append(cell)
    classes = {truth: model_series.estimate_accuracy(0, counted) for truth, counted in sorted(cells.items())}
    p95 = model_series.latency_quantile(series.overall_latency, 0.95)
    verdict, text = _verdict(context, view)
    return VersionFacts(
        view=view,
        golden=_golden(view),
        production=_share(series.overall),
        source=series.source,
        latency="" if p95 is None else milliseconds_text(p95),
        classes={truth: share for truth, estimate in classes.items() if (share := _share(estimate)) is not None},
        verdict=verdict,
        verdict_text=text,
    )


def _verdict(context: AppContext, view: VersionView) -> tuple[Verdict | None, str]:
    """What the gate said, and the same in words, or why it is not known."""
    try:
        text = context.tracking.read_text(view.run_id, VERDICT_FILE)
        verdict = None if text is None else Verdict.from_json(text)
    except (GateError, RegistryError):
        return None, "The gate's findings cannot be read now."
    if verdict is None:
        return None, "Its run keeps no findings of the gate."
    return verdict, f"The gate's verdict is {verdict.outcome}."


def _golden(view: VersionView) -> Share | None:
    """Its share of right answers on the golden set; None where it was registered without."""
    correct, total = (view.tags.get(f"golden_{name}", "") for name in ("correct", "total"))
    if not (correct.isdecimal() and total.isdecimal() and 0 < int(total) >= int(correct)):
        return None
    low, high = clopper_pearson(int(correct), int(total), model_series.CONFIDENCE)
    return Share(int(correct) / int(total), low, high, int(total))


def _share(estimate: Accuracy | None) -> Share | None:
    return None if estimate is None else Share(estimate.value, estimate.low, estimate.high, estimate.n)


def _find(versions: Sequence[VersionView], version: int) -> VersionView:
    for view in versions:
        if view.version == version:
            return view
    known = ", ".join(str(view.version) for view in versions) or "none"
    raise NotFoundError(f"version {version} is not registered; there are: {known}")


def _figures(facts: VersionFacts) -> list[tuple[str, str]]:
    """Its figures by name, those that are known."""
    view, production = facts.view, facts.production
    figures = [
        ("Golden accuracy", "" if facts.golden is None else f"{facts.golden.text} rows"),
        ("Accuracy in production", "" if production is None else f"{production.text} {facts.source} labels"),
        ("Latency, 95th percentile", facts.latency),
        ("Gate", view.tags.get("gate", "")),
        ("Recipe", view.tags.get("recipe", "")),
        ("Model file", _bytes_text(view.tags.get("size_bytes", ""))),
        ("Training", f"{view.tags['train_seconds']} s" if "train_seconds" in view.tags else ""),
        ("Probation", view.probation or ""),
        ("Quarantine", view.quarantine or ""),
    ]
    return [(name, text) for name, text in figures if text]


def _compared_figures(old: VersionFacts, new: VersionFacts) -> list[Row]:
    before, after = dict(_figures(old)), dict(_figures(new))
    shares = {"Golden accuracy": (old.golden, new.golden), "Accuracy in production": (old.production, new.production)}
    rows = []
    for name in dict.fromkeys((*after, *before)):
        pair = shares.get(name, (None, None))
        rows.append(Row(name, before.get(name, ""), after.get(name, ""), _change(*pair), _is_apart(*pair)))
    return rows


def _compared_classes(old: Mapping[str, Share], new: Mapping[str, Share]) -> list[Row]:
    """Each class that either version has labels of, the largest change first."""
    rows = [(_difference(old.get(name), new.get(name)), name) for name in dict.fromkeys((*old, *new))]
    return [
        Row(
            name,
            old[name].text if name in old else "",
            new[name].text if name in new else "",
            _change(old.get(name), new.get(name)),
            _is_apart(old.get(name), new.get(name)),
        )
        for difference, name in sorted(rows, key=lambda row: (row[0] is None, -abs(row[0] or 0), row[1]))
    ]


def _difference(old: Share | None, new: Share | None) -> float | None:
    return None if old is None or new is None else new.value - old.value


def _change(old: Share | None, new: Share | None) -> str:
    difference = _difference(old, new)
    return "" if difference is None else f"{100 * difference + 0.0:+.1f} points"


def _is_apart(old: Share | None, new: Share | None) -> bool:
    """Whether the intervals do not meet: then the difference is surely none of chance."""
    return old is not None and new is not None and (old.high < new.low or new.high < old.low)


def check_rows(checks: Sequence[GateCheck]) -> list[CheckRow]:
    """The gate's table, as pages show it."""
    return [CheckRow(check.name, CHECK_TEXTS[check.passed], check.detail) for check in checks]


def _checks(facts: VersionFacts) -> list[CheckRow]:
    return [] if facts.verdict is None else check_rows(facts.verdict.checks)


def _card_diff(context: AppContext, before: int, after: int) -> str:
    try:
        return diff_model_cards(context, before, after)
    except RegistryError:
        return "The cards cannot be read now."


def _bytes_text(size: str) -> str:
    return f"{int(size) / 2**20:,.2f} MiB" if size.isdecimal() else ""
