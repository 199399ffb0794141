"""Grafana's dashboard and Prometheus' alert rules, from the metrics that an API server shows.

Every metric is on a panel: one that has no entry in PANELS gets the panel that its kind asks for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prometheus_client import CollectorRegistry

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
METRIC_NAME: Final = re.compile(r"\bmlplatform_[a-z_]+[a-z]\b")
SPOOL_SHARE: Final = 'mlplatform_spool_bytes{of="used"} / ignoring(of) mlplatform_spool_bytes{of="limit"}'
LOST_STATES: Final = ("dropped", "refused", "damaged", "set_aside", "database_replaced")
"""What a recorder counts that a person must look at."""
GUIDE: Final = "docs/how-to/connect-grafana-and-prometheus.md"


@dataclass(frozen=True)
class Family:
    """One metric of the catalogue; `name` is that of its series, without the suffixes of a histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Panel:
    """One panel: a title, the unit of its axis, and pairs of a query and a legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AlertRule:
    """One alert of Prometheus: what is asked, for how long it must hold, and what it means."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str


def _quantile(share: float, metric: str, by: str = "", over: str = "5m") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket[{over}])))"


PANELS: Final[Mapping[str, tuple[Panel, ...]]] = {
    "mlplatform_requests_total": (
        Panel(
            "Requests a second, by status",
            "reqps",
            (("sum by (status) (rate(mlplatform_requests_total[5m]))", "{{status}}"),),
        ),
        Panel(
            "Requests a second, by route",
            "reqps",
            (("sum by (route) (rate(mlplatform_requests_total[5m]))", "{{route}}"),),
        ),
    ),
    "mlplatform_prediction_latency_seconds": (
        Panel(
            "Latency of predictions, 50th and 95th percentile",
            "s",
            (
                (_quantile(0.5, "mlplatform_prediction_latency_seconds"), "50 %"),
                (_quantile(0.95, "mlplatform_prediction_latency_seconds"), "95 %"),
            ),
        ),
    ),
    "mlplatform_predictions_total": (
        Panel(
            "Predictions a second, by version",
            "reqps",
            (("sum by (version) (rate(mlplatform_predictions_total[5m]))", "version {{version}}"),),
        ),
    ),
    "mlplatform_stage_seconds": (
        Panel(
            "Time of stages, 95th percentile",
            "s",
            ((_quantile(0.95, "mlplatform_stage_seconds", "stage"), "{{stage}}"),),
        ),
    ),
    "mlplatform_feedback_total": (
        Panel(
            "Labels a minute, by source",
            "short",
            (("60 * sum by (source) (rate(mlplatform_feedback_total[15m]))", "{{source}}"),),
        ),
    ),
    "mlplatform_label_lag_seconds": (
        Panel(
            "Lag of labels, 90th percentile",
            "s",
            ((_quantile(0.9, "mlplatform_label_lag_seconds", "source", "1d"), "{{source}}"),),
        ),
    ),
    "mlplatform_spool_bytes": (
        Panel(
            "Spool, share of what it may take",
            "percentunit",
            (
                (
                    f"max by (instance) ({SPOOL_SHARE})",
                    "{{instance}}",
                ),
            ),
        ),
    ),
    "mlplatform_recorder": (
        Panel(
            "Rows that need a person",
            "short",
            (
                (
                    f'sum by (state) (mlplatform_recorder{{state=~"{"|".join(LOST_STATES)}"}})',
                    "{{state}}",
                ),
            ),
        ),
    ),
    "mlplatform_model_info": (
        Panel("Versions that are loaded", "short", (("mlplatform_model_info", "{{model}} {{version}} {{role}}"),)),
    ),
}
RULES: Final = (
    AlertRule("MlplatformServerDown", 'up{job="mlplatform"} == 0', "1m", "critical", "A server does not answer."),
    AlertRule(
        "MlplatformNoModel", "mlplatform_model_version == 0", "5m", "critical", "A server has no model to answer with."
    ),
    AlertRule(
        "MlplatformRequestsFail",
        'sum by (instance) (rate(mlplatform_requests_total{status=~"5.."}[5m])) > 0',
        "5m",
        "critical",
        "Requests fail.",
    ),
    AlertRule(
        "MlplatformSpoolHalfFull",
        f"{SPOOL_SHARE} > 0.5",
        "5m",
        "warning",
        "Predictions wait for the database, and half of the disk for them is taken.",
    ),
    AlertRule(
        "MlplatformPredictionsLost",
        'increase(mlplatform_recorder{state="dropped"}[1h]) > 0',
        "0s",
        "critical",
        "Predictions were lost (PLATFORM_SPOOL_FULL=drop-oldest).",
    ),
    AlertRule(
        "MlplatformRowsSetAside",
        'mlplatform_recorder{state="set_aside"} > 0',
        "0s",
        "warning",
        "Rows wait for a person: `platform recording` recovers them.",
    ),
)


def families(registry: CollectorRegistry) -> list[Family]:
    """The metrics of a registry in order of their registration."""
    found = []
    for collector in registry._collector_to_names:
        for metric in collector.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            labels = tuple(getattr(collector, "_labelnames", ()))
            found.append(Family(name, metric.type, labels, metric.documentation))
    return found


def dashboard(registry: CollectorRegistry) -> str:
    """The dashboard as JSON; raises ValueError for a panel whose metric is gone."""
    catalogue = families(registry)
    check_names([query for panels in PANELS.values() for panel in panels for query, _ in panel.queries], catalogue)
    panels = [panel for family in catalogue for panel in PANELS.get(family.name) or (default_panel(family),)]
    written = {
        "title": "mlplatform",
        "uid": "mlplatform",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "tags": ["mlplatform"],
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(written, indent=1) + "\n"


def alert_rules(registry: CollectorRegistry) -> str:
    """The alert rules as Prometheus reads them; raises ValueError for a rule whose metric is gone."""
    check_names([rule.expression for rule in RULES], families(registry))
    rules = [
        {
            "alert": rule.name,
            "expr": rule.expression,
            "for": rule.lasts,
            "labels": {"severity": rule.severity},
            "annotations": {"summary": rule.summary},
        }
        for rule in RULES
    ]
    text = yaml.safe_dump({"groups": [{"name": "mlplatform", "rules": rules}]}, sort_keys=False, width=120)
    return f"# What mlplatform cannot tell by itself. Written by docs/generate.py; see {GUIDE}.\n{text}"


def default_panel(family: Family) -> Panel:
    """The panel that a metric's kind asks for."""
    by = ", ".join(family.labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in family.labels) or "{{instance}}"
    if family.kind == "histogram":
        queries = tuple(
            (_quantile(share, family.name, by), f"{100 * share:g} % {legend}".strip() if by else f"{100 * share:g} %")
            for share in (0.5, 0.95)
        )
        return Panel(family.about, "s" if family.name.endswith("_seconds") else "short", queries)
    is_counter = family.kind == "counter"
    series = f"rate({family.name}[5m])" if is_counter else family.name
    query = f"sum by ({by or 'instance'}) ({series})"
    return Panel(family.about, "ops" if is_counter else "short", ((query, legend),))


def check_names(expressions: Sequence[str], catalogue: Sequence[Family]) -> None:
    """Raise ValueError where an expression names a metric that no server shows."""
    known = {
        name
        for family in catalogue
        for name in (family.name, *(f"{family.name}_{part}" for part in ("bucket", "sum", "count")))
    }
    for expression in expressions:
        for name in METRIC_NAME.findall(expression):
            if name not in known:
                raise ValueError(f"{name} is no metric of a server; it stands in {expression!r}")


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }
