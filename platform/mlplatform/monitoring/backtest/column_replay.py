"""What a rule about columns would have found about one version at moments of the past.

Columns are counted by the hour, so of a moment within one the rows before and after it cannot be told apart: the hours
that were over are what a slot is replayed from. The watcher's own look had the rows of the running hour too.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from mlplatform.monitoring.backtest.rule_replay import OpenAlerts
from mlplatform.monitoring.columns.column_inputs import ColumnHistory, Counts, whole_hours
from mlplatform.monitoring.reference_inputs import reference_period
from mlplatform.monitoring.unlabelled_monitoring import SETTLE_DELAY
from mlplatform.predictions.column_counts import hour_index, hour_start, hourly_counts
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.store.version_contracts import VersionContracts
from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding, missing_data_of
from monitors.rules.alerts_config import Rule
from monitors.windows.reference_period import ReferencePeriod
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts
from registry.model_contract import TableInputs

_EVERY_HOUR: Final = (0, 2**31 - 1)


@dataclass(frozen=True)
class ColumnTimeline:
    """A version's counts of all hours, and the reference of each length that rules ask for."""

    version: int
    inputs: TableInputs
    hours: Mapping[int, Counts]
    periods: Mapping[str, ReferencePeriod]

    def history_until(self, rule: Rule, end: int) -> ColumnHistory:
        """What was counted before an hour began."""

        def read(spans: Sequence[tuple[int, int]]) -> dict[int, Counts]:
            return {
                hour: counts
                for hour, counts in self.hours.items()
                if hour < end and any(first <= hour < last for first, last in spans)
            }

        return ColumnHistory(self.version, self.inputs, self.periods[rule.name], read)

    def last_row_before(self, end: int) -> datetime | None:
        """When the last hour with a row began, of those before an hour."""
        last = max((hour for hour in self.hours if hour < end), default=None)
        return None if last is None else hour_start(last)


@dataclass
class ColumnRuleReplay:
    """A rule that is decided by counts of columns; `timeline` is None where the version takes no table."""

    rule: Rule
    classes: tuple[str, ...]
    timeline: ColumnTimeline | None
    _decided: tuple[tuple[int, int], list[Finding]] | None = None

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: OpenAlerts) -> list[Finding]:  # noqa: ARG002
        """What the hours that were over say at the moment; the same until another one is."""
        end, settled = hour_index(moment), hour_index(moment - SETTLE_DELAY)
        counts = WindowCounts(
            model=champion.model_name,
            version=champion.to_version,
            classes=self.classes,
            start=moment - self.rule.window,
            end=moment,
        )
        if self._decided is None or self._decided[0] != (end, settled):
            window = (
                None if self.timeline is None else self.timeline.history_until(self.rule, end).window(self.rule, moment)
            )
            self._decided = (end, settled), list(decide(self.rule, replace(counts, columns=window), baseline))
        last = None if self.timeline is None else self.timeline.last_row_before(end)
        missing = missing_data_of(self.rule, counts, last, champion.at)
        return self._decided[1] if missing is None else [*self._decided[1], missing]

    def labels_read(self, key: str) -> int | None:  # noqa: ARG002
        return None

    def total_labels_read(self) -> int:
        return 0


def load_column_timelines(
    connection: Connection,
    contracts: VersionContracts,
    model_name: str,
    versions: Collection[int],
    rules: Sequence[Rule],
) -> dict[int, ColumnTimeline]:
    """The counts of each of these versions that takes a table; none where no rule is about columns."""
    own = [rule for rule in rules if "columns" in rule.metric_spec.data_needs]
    timelines = {}
    for version in sorted(versions) if own else ():
        inputs = contracts.of(connection, model_name, version).inputs
        if isinstance(inputs, TableInputs):
            hours = hourly_counts(connection, model_name, version, [_EVERY_HOUR])
            periods = {
                rule.name: whole_hours(reference_period(connection, model_name, version, rule.reference))
                for rule in own
            }
            timelines[version] = ColumnTimeline(version, inputs, hours, periods)
    return timelines
