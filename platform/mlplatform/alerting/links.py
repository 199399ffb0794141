"""Links of notices: the dashboard, a report, a version in MLflow, the page to acknowledge alerts on."""

from collections.abc import Sequence

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.settings import Settings


def http_url(host: str, port: int) -> str:
    """The address of a server on this host and port; one of IPv6 stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def alert_links(
    settings: Settings,
    evaluation: Evaluation,
    alert_ids: Sequence[str] = (),
    run_id: str | None = None,
    *,
    is_over: bool = False,
) -> dict[str, str]:
    """The alert's page, report, dashboard, model and run, as far as public addresses are set.

    The page of one alert, or of all of them, comes first; it is where one acknowledges, unless the alert `is_over`.

    The report is linked where it is kept or being made: then it is ready some seconds after the decision.
    """
    links = dict[str, str]()
    if settings.public_url:
        base = settings.public_url.rstrip("/")
        links |= alert_page_link(settings.public_url, alert_ids, "Alert" if is_over else "Acknowledge")
        if evaluation.report is not None or (evaluation.state in ("breach", "suspect") and evaluation.measured is None):
            links["Report"] = f"{base}/v1/evaluations/{evaluation.id}/report"
        links |= dashboard_links(settings.public_url)
    if settings.mlflow_public_url:
        base = settings.mlflow_public_url.rstrip("/")
        links["Model"] = f"{base}/#/models/{evaluation.model_name}/versions/{evaluation.model_version}"
        if run_id is not None:
            links["Run"] = f"{base}/#/runs/{run_id}"
    return links


def alert_page_link(public_url: str, alert_ids: Sequence[str], name: str) -> dict[str, str]:
    """The page of one alert, or of all alerts for several; nothing for none or without a public address."""
    base = public_url.rstrip("/")
    if not base or not alert_ids:
        return {}
    return {name: f"{base}/alerts" + (f"/{alert_ids[0]}" if len(alert_ids) == 1 else "")}


def dashboard_links(public_url: str) -> dict[str, str]:
    """The dashboard, where a public address is set."""
    base = public_url.rstrip("/")
    return {"Dashboard": f"{base}/"} if base else {}


def version_links(settings: Settings, model: str, version: int) -> dict[str, str]:
    """The page of the version, the dashboard and the version in MLflow, as far as public addresses are set."""
    base, registry = settings.public_url.rstrip("/"), settings.mlflow_public_url.rstrip("/")
    page = {"Version": f"{base}/versions/{version}"} if base and model == settings.model_name else {}
    in_registry = {"Model": f"{registry}/#/models/{model}/versions/{version}"} if registry else {}
    return page | dashboard_links(settings.public_url) | in_registry


def image_link(settings: Settings, prediction_id: str) -> str:
    """Where the picture of a prediction is served; empty without a public address."""
    base = settings.public_url.rstrip("/")
    return f"{base}/v1/predictions/{prediction_id}/image" if base else ""
