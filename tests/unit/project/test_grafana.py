"""The dashboard and the alert rules are written from the metrics that a server shows, and deployed where they lie."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ROOT = Path(__file__).parents[3]
DEPLOYMENT = ROOT / "deploy" / "grafana"
sys.path.append(str(ROOT / "docs"))
from generator.grafana import RULES, alert_rules, check_names, dashboard, default_panel, families  # noqa: E402

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def catalogue_names() -> set[str]:
    text = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(mlplatform_\w+)`", text, re.MULTILINE))


def test_every_metric_of_the_catalogue_is_on_a_panel() -> None:
    panels = json.loads((DEPLOYMENT / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    queries = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    assert {name for name in catalogue_names() if not re.search(rf"\b{name}(_bucket)?\b", queries)} == set()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels)
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))


def test_every_rule_says_what_it_means_and_the_guide_names_it() -> None:
    written = yaml.safe_load((DEPLOYMENT / "alert-rules.yml").read_text(encoding="utf-8"))
    rules = [rule for group in written["groups"] for rule in group["rules"]]
    guide = (ROOT / "docs/how-to/connect-grafana-and-prometheus.md").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules] == [rule.name for rule in RULES]
    for rule in rules:
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert f"`{rule['alert']}`" in guide


def test_a_metric_that_is_gone_is_refused() -> None:
    registry = CollectorRegistry()
    with pytest.raises(ValueError, match="mlplatform_requests_total is no metric of a server"):
        dashboard(registry)
    with pytest.raises(ValueError, match="is no metric of a server"):
        alert_rules(registry)


def test_a_metric_of_each_kind_gets_the_panel_that_it_asks_for() -> None:
    registry = CollectorRegistry()
    Counter("mlplatform_things", "Things.", ("kind",), registry=registry)
    Gauge("mlplatform_level", "A level.", registry=registry)
    Histogram("mlplatform_wait_seconds", "A wait.", ("stage",), registry=registry)
    catalogue = families(registry)
    queries = [query for family in catalogue for query, _ in default_panel(family).queries]
    assert queries == [
        "sum by (kind) (rate(mlplatform_things_total[5m]))",
        "sum by (instance) (mlplatform_level)",
        "histogram_quantile(0.5, sum by (le, stage) (rate(mlplatform_wait_seconds_bucket[5m])))",
        "histogram_quantile(0.95, sum by (le, stage) (rate(mlplatform_wait_seconds_bucket[5m])))",
    ]
    check_names(queries, catalogue)


def test_what_containers_mount_is_there_and_scrapes_the_server_of_the_composition() -> None:
    for name in ("prometheus", "grafana"):
        for volume in COMPOSE["services"][name]["volumes"]:
            source = volume.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]
    [job] = yaml.safe_load((DEPLOYMENT / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["api:8000"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/mlplatform-key"
    assert COMPOSE["secrets"] == {"mlplatform-key": {"environment": "PROMETHEUS_KEY"}}
