"""Two pages for people: the platform at a glance, and one alert explained; they show what the commands print."""

from datetime import datetime
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader

from mlplatform.context import AppContext
from mlplatform.operations import queries
from mlplatform.operations.alert_explanation import load_explanation
from mlplatform.operations.doctor.detection_forecasts import load_detection_forecasts
from mlplatform.operations.store_totals import format_totals
from mlplatform.serialization import to_jsonable
from monitors.decisions.detectors.detection_power import finds_text
from monitors.errors import RulesError

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; frame-ancestors 'none'"
)


class StatusTable(NamedTuple):
    """One table of the overview: a list of `platform_status` and which of its values are shown."""

    title: str
    name: str
    columns: tuple[str, ...]
    when_empty: str


OVERVIEW_TABLES: Final = (
    StatusTable("Open alerts", "alerts", ("rule", "key", "state", "severity", "sentence", "opened_at"), "none"),
    StatusTable("Rules", "evaluations", ("rule", "state", "at", "finds"), "not evaluated yet"),
    StatusTable(
        "Retrainings", "retrainings", ("state", "reason", "requested_at", "candidate_version", "promoted"), "none yet"
    ),
    StatusTable("Tasks for people", "tasks", ("kind", "at", "id"), "none"),
    StatusTable("Undelivered notices", "undelivered", ("channel", "state", "last_error"), "none"),
)


def _to_minute(time: str) -> str:
    """A time in ISO 8601 as people are shown it."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC"


_TEMPLATES: Final = Environment(
    loader=PackageLoader("mlplatform.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters["to_minute"] = _to_minute


def overview_page(context: AppContext) -> str:
    """The dashboard: champion and its probation, alerts, rules, retrainings, tasks, notices that wait."""
    status = to_jsonable(queries.platform_status(context))
    finds = _detection_texts(context)
    status["evaluations"] = [row | {"finds": finds.get(row["rule"], "")} for row in status["evaluations"]]
    return _TEMPLATES.get_template("overview.html").render(
        title=f"{status['model']} · mlplatform",
        status=status,
        counts=", ".join(format_totals(status["counts"])),
        tables=OVERVIEW_TABLES,
    )


def _detection_texts(context: AppContext) -> dict[str, str]:
    """What each rule about labels can find, by its name; none where the rules cannot be read now."""
    try:
        return {power.rule: finds_text(power) for power in load_detection_forecasts(context)}
    except RulesError:
        return {}


def alert_page(context: AppContext, alert_id: str) -> str:
    """One alert explained, with a button to acknowledge it while it fires; raises NotFoundError."""
    explanation = load_explanation(context, alert_id)
    return _TEMPLATES.get_template("alert.html").render(
        title=f"{explanation.alert.rule} · mlplatform", explanation=explanation, alert_id=alert_id
    )
