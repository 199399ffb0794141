"""The doctor's check of rules about columns: whether their columns are there, and what they can find by now."""

from collections.abc import Iterator

from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.monitoring.columns.column_inputs import load_columns
from mlplatform.operations.doctor.check_requirements import needs_current_store
from mlplatform.promotion import promotion_history
from monitors.decisions.columns.column_power import smallest_rise_found
from monitors.decisions.columns.column_shares import judged_columns
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, duration_text
from monitors.windows.column_window import ColumnWindow


@needs_current_store
def check_columns(context: AppContext) -> Iterator[tuple[str, str]]:
    """What each rule about columns can find of the champion, and what keeps it from deciding."""
    rules = [rule for rule in context.rules.rules if "columns" in rule.metric_spec.data_needs]
    if not rules:
        yield "ok", "no rule is about the columns of a table"
        return
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, context.rules.model)
        if champion is None:
            yield "note", "not looked at: no version has served yet"
            return
        for rule in rules:
            yield _rule_state(connection, context, rule, champion)


def _rule_state(
    connection: Connection, context: AppContext, rule: Rule, champion: promotion_history.Promotion
) -> tuple[str, str]:
    window = load_columns(connection, context.contracts, rule, champion, context.clock())
    if window is None:
        return "problem", f"rule {rule.name}: version {champion.to_version} takes no table; take the rule out"
    if unknown := window.unknown(rule.column):
        known = ", ".join(column.name for column in window.columns[:20])
        return "problem", f"rule {rule.name}: there is no column {unknown[0]!r} that is counted; there are {known}"
    return _forecast(rule, window, champion.to_version)


def _forecast(rule: Rule, window: ColumnWindow, version: int) -> tuple[str, str]:
    noted = max((column.reference_rows for column in window.named(rule.column)), default=0)
    rows = f"{count_text(window.rows, 'row')} in its {duration_text(rule.window)}"
    if rule.metric in ("column_missing", "column_skew") and not noted:
        return "note", f"rule {rule.name}: version {version} did not note how its rows were spread; train a new one"
    if window.rows < rule.min_samples:
        return "note", f"rule {rule.name}: {rows}; it decides from {rule.min_samples:,} on"
    if rule.metric_spec.is_early_warning:
        return "ok", f"rule {rule.name}: {rows}, {count_text(len(window.named(rule.column)), 'column')}"
    columns = judged_columns(rule, window)
    if not columns:
        return "note", f"rule {rule.name}: it decides about no column of version {version}"
    rise = smallest_rise_found(rule, window.rows, len(columns), noted)
    if rise is None:
        return "note", f"rule {rule.name}: {rows}; nothing can be proved with so few"
    among = count_text(len(columns), "column")
    return "ok", (
        f"rule {rule.name}: with {rows}, a rise by {100 * rise:.1f} points in one of {among} is found at a look in 9 "
        "of 10 cases"
    )
