"""Addresses where people read on."""

from dataclasses import replace

import pytest

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.links import alert_links, http_url, image_link
from mlplatform.settings import Settings
from tests.support.platform_world import START

EVALUATION = Evaluation(
    id="e1", rule="r", slot=START, at=START, model_name="digits", model_version=3, window_start=START,
    window_end=START, state="breach", findings=[], report=None, evaluated_by="t",
)  # fmt: skip


@pytest.fixture
def public(settings: Settings) -> Settings:
    return settings.model_copy(update={"public_url": "https://p.test/", "mlflow_public_url": "https://m.test/"})


def test_every_page_is_linked_when_addresses_are_public(public: Settings) -> None:
    assert alert_links(public, EVALUATION, ["a1"], "run-1") == {
        "Report": "https://p.test/v1/evaluations/e1/report",
        "Dashboard": "https://p.test/",
        "Acknowledge": "https://p.test/alerts/a1",
        "Model": "https://m.test/#/models/digits/versions/3",
        "Run": "https://m.test/#/runs/run-1",
    }
    assert image_link(public, "p1") == "https://p.test/v1/predictions/p1/image"


def test_several_alerts_are_acknowledged_on_the_page_of_all(public: Settings) -> None:
    assert alert_links(public, EVALUATION, ["a1", "a2"])["Acknowledge"] == "https://p.test/alerts"


def test_no_report_is_linked_where_none_is_made(public: Settings) -> None:
    assert list(alert_links(public, replace(EVALUATION, state="ok"))) == ["Dashboard", "Model"]


def test_without_public_addresses_nothing_is_linked(settings: Settings) -> None:
    assert alert_links(settings, EVALUATION, ["a1"], "run-1") == {}
    assert image_link(settings, "p1") == ""


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("localhost", "http://localhost:80")],
)
def test_a_host_of_ipv6_stands_in_brackets(host: str, address: str) -> None:
    assert http_url(host, 80) == address
