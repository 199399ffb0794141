"""The page of metrics, from the Prometheus registry of an API server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from generator.grafana import families
from generator.markdown import choices, page, table


def metrics_page(registry: CollectorRegistry) -> str:
    """Every metric of the API server with its kind and labels."""
    rows = [
        (f"`{family.name}`", family.kind, choices(list(family.labels)), family.about) for family in families(registry)
    ]
    return page(
        "Metrics",
        "What an API server shows at `GET /metrics` for Prometheus. A histogram has the series `_bucket`, `_sum` and "
        "`_count`. Each server counts for itself since its start; sum over servers. How to scrape and draw them is "
        "under [connect Grafana and Prometheus](../how-to/connect-grafana-and-prometheus.md).",
        table(("metric", "kind", "labels", "what it counts"), rows),
    )
