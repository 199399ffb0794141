"""The list of alerts of all models: those that are open, the gravest first, and the newest that ended."""

from typing import Final

from mlplatform.alerting import alert_records
from mlplatform.alerting.alert_records import OPEN_STATES
from mlplatform.context import AppContext
from mlplatform.web.model_health import SEVERITY_ORDER
from mlplatform.web.rendering import render_page

MAX_OPEN: Final = 200
MAX_ENDED: Final = 100
REFRESH_SECONDS: Final = 30


def alert_list_page(context: AppContext) -> str:
    """The page."""
    with context.database.read() as connection:
        open_alerts = alert_records.list_alerts(connection, limit=MAX_OPEN)
        newest = alert_records.list_alerts(connection, include_closed=True, limit=MAX_ENDED)
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


def _severity_position(severity: str) -> int:
    return SEVERITY_ORDER.index(severity) if severity in SEVERITY_ORDER else len(SEVERITY_ORDER)
