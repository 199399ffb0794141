"""The list of alerts of all models: those that are open, the gravest first, and the newest that ended."""

from collections.abc import Collection, Iterable
from typing import Final

from mlplatform.alerting import alert_records
from mlplatform.alerting.alert_records import OPEN_STATES, AlertRow
from mlplatform.context import AppContext
from mlplatform.web.model_health import SEVERITY_ORDER
from mlplatform.web.rendering import render_page

MAX_OPEN: Final = 200
MAX_ENDED: Final = 100
REFRESH_SECONDS: Final = 30


def alert_list_page(context: AppContext, models: Collection[str] | None = None) -> str:
    """The page, of these models or of every one."""
    names: list[str | None] = [None] if models is None else [*sorted(models)]
    with context.database.read() as connection:
        open_alerts = _newest(
            [alert_records.list_alerts(connection, limit=MAX_OPEN, model_name=name) for name in names], MAX_OPEN
        )
        newest = _newest(
            [
                alert_records.list_alerts(connection, include_closed=True, limit=MAX_ENDED, model_name=name)
                for name in names
            ],
            MAX_ENDED,
        )
    open_alerts.sort(key=lambda row: (row.state == "pending", _severity_position(row.severity)))
    return render_page(
        "alerts.html",
        path="/alerts",
        title="Alerts",
        section="Alerts",
        refresh_seconds=REFRESH_SECONDS,
        listings=[
            ("Open", open_alerts, "No alert is open."),
            ("Ended", [row for row in newest if row.state not in OPEN_STATES], "None ended lately."),
        ],
    )


def _newest(listings: Iterable[list[AlertRow]], limit: int) -> list[AlertRow]:
    """The newest alerts of several models' lists; ids grow with time."""
    return sorted((row for rows in listings for row in rows), key=lambda row: row.id, reverse=True)[:limit]


def _severity_position(severity: str) -> int:
    return SEVERITY_ORDER.index(severity) if severity in SEVERITY_ORDER else len(SEVERITY_ORDER)
