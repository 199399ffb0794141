"""Decides whether a rule is broken, by the decision function that the metric's catalogue entry names.

A rule with a false-alarm budget is decided by its detectors, which have read every label once and may be asked as
often as one likes. A rule without one is decided by its window: a breach needs the lower confidence limit above the
threshold, so its false-alarm rate per evaluation is at most 1 - confidence. A value above the threshold without
such a proof is only "suspect".
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Final

from monitors.decisions.finding import DecisionFunction, Detectors, Finding, Findings
from monitors.rules.alerts_config import Rule
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts

NO_DETECTORS: Final[Detectors] = {}


def decide(rule: Rule, counts: WindowCounts, baseline: Baseline, detectors: Detectors = NO_DETECTORS) -> Findings:
    """Decide about a window by a rule, given its detectors where the rule has a false-alarm budget."""
    return decision_function(rule.metric_spec.decided_by)(rule, counts, baseline, detectors)


@cache
def decision_function(reference: str) -> DecisionFunction:
    """The function that "module:function" names, a module of this package."""
    module, _, name = reference.partition(":")
    function: DecisionFunction = getattr(import_module(f"monitors.decisions.{module}"), name)
    return function


def resolved_streams(findings: Sequence[Finding], detectors: Detectors) -> frozenset[str]:
    """The streams whose alarm is over, because the window has come back to the clear level: they begin anew."""
    clear = {finding.key for finding in findings if finding.state == "ok" and finding.clear}
    alarmed = {name for name, detector in detectors.items() if detector.alarmed_at is not None}
    return frozenset(clear & alarmed)
