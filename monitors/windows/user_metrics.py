"""Estimates a metric from a window's rows, with limits: built-in statistics, a user's functions, Evidently's metrics.

`metric: python:package.module:function` names a function of the signature

    def function(window: monitors.windows.window.Window) -> float

that is called with the newest rows of the rule's window, and again without each of some twenty groups of them, which
gives its limits (`monitors.windows.jackknife`). By default the rows are labelled answers, each with its `label`,
`truth`, `confidence`, `tags` and `weight`: a mean over all answers is a mean weighted by that. The module is imported
from what is installed or lies on PYTHONPATH; nothing is downloaded.
"""

import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from monitors.errors import MetricsError
from monitors.rules.alerts_config import Rule
from monitors.windows import row_statistics
from monitors.windows.jackknife import RowStatistic, jackknife_estimate
from monitors.windows.window import Row, Window
from monitors.windows.window_counts import EstimateFromRows

UserMetric = Callable[[Window], float]


def estimate_rows(rule: Rule, window: Window) -> EstimateFromRows:
    """The rule's number over the window's rows, once there are enough; a fault is told in it, and raises nothing."""
    rows = window.labelled(rule.sources) if rule.reads_labels else _mask_other_sources(window.rows, rule.sources)
    if len(rows) < rule.min_samples:
        return EstimateFromRows(len(rows))
    try:
        return EstimateFromRows(len(rows), jackknife_estimate(statistic_for(rule, window, rows), rows, rule.confidence))
    except MetricsError as error:
        return EstimateFromRows(len(rows), problem=_one_line(f"{rule.metric} could not be computed: {error}"))


def _mask_other_sources(rows: Sequence[Row], sources: Collection[str]) -> tuple[Row, ...]:
    """All rows; a truth from another source than these counts as not known."""
    return tuple(row if row.truth_source in sources else replace(row, truth=None, truth_source=None) for row in rows)


def statistic_for(rule: Rule, window: Window, rows: Sequence[Row]) -> RowStatistic:
    """What the rule computes, as a function of some of these rows; raises MetricsError for what is not there."""
    if rule.metric_spec.statistic:
        statistic: Callable[[Sequence[Row]], RowStatistic] = getattr(row_statistics, rule.metric_spec.statistic)
        return statistic(rows)
    family, _, own = rule.metric.partition(":")
    match family:
        case "python":
            return _with_error_context(rule.metric, load_function(own), window)
        case "evidently":
            from monitors.windows.evidently_adapter import (
                metric_value,  # several seconds of import: only rules that ask pay it
            )

            return lambda part: metric_value(own, rule.params, rule.value, part)
    raise MetricsError(f"metric {rule.metric} is not computed from rows; decide it by its counts")


def load_function(reference: str) -> UserMetric:
    """The function that "package.module:function" names; raises MetricsError naming what is missing and a remedy."""
    module, _, name = reference.partition(":")
    try:
        attribute = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        remedy = f"install it, or put its folder on PYTHONPATH, for the watcher ({error})"
        raise MetricsError(f"module {module!r} cannot be found; {remedy}") from error
    except (Exception, SystemExit) as error:  # what somebody's module does when imported may fail in any way
        raise MetricsError(f"module {module!r} fails while it is imported: {_error_text(error)}; mend it") from error
    if not callable(attribute):
        raise MetricsError(f"module {module!r} has no function {name!r}; write one that takes a Window")
    function: UserMetric = attribute
    return function


def _with_error_context(metric: str, function: UserMetric, window: Window) -> RowStatistic:
    def statistic(part: Sequence[Row]) -> float:
        try:
            return function(replace(window, rows=tuple(part)))
        except (Exception, SystemExit) as error:  # somebody's function may fail in any way, and only its rule with it
            raise MetricsError(f"it fails with {_error_text(error)}; mend {metric.partition(':')[2]}") from error

    return statistic


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
