"""Notices put into the outbox: composed once, whole, when their cause is written; sending is somebody else's."""

from sqlalchemy import Connection

from mlplatform.build import Parts
from mlplatform.store import alerts, evaluations, outbox
from monitors.alerts import Alert, Kind
from monitors.channels import EmailChannel, SlackChannel, WebhookChannel
from monitors.notify import Notice, email_message, idempotency_key, slack_payload, webhook_payload
from monitors.rules import Rule

MESSAGE_ID_DOMAIN = "mlplatform.invalid"


def post_notice(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    alert: Alert,
    kind: Kind,
    sentence: str,
    evaluation: evaluations.Evaluation,
) -> int:
    """Put one notice per configured channel into the outbox; returns how many. A silence posts none."""
    silences = alerts.active_silences(connection, evaluation.at)
    if any(silence.covers(alert, evaluation.at) for silence in silences):
        return 0
    key = idempotency_key(alert.id, kind, alert.notices)
    notice = Notice(kind, alert, rule, sentence, evaluation.at, _links(parts, evaluation), key)
    posted = 0
    for name in rule.notify:
        channel = parts.rules.channels[name]
        if channel.configured:
            posted += outbox.post(
                connection,
                key=f"{key}-{name}",
                channel=name,
                payload=compose(notice, channel),
                alert_id=alert.id,
                now=evaluation.at,
            )
    return posted


def compose(notice: Notice, channel: SlackChannel | EmailChannel | WebhookChannel) -> dict[str, object]:
    """What exactly will be sent, every time it is tried; no secret is in it."""
    match channel:
        case SlackChannel():
            return {"type": "slack", "body": slack_payload(notice)}
        case EmailChannel():
            message = email_message(notice, channel.sender, channel.to, MESSAGE_ID_DOMAIN)
            return {"type": "email", "message": message.as_string()}
        case WebhookChannel():
            return {"type": "webhook", "body": webhook_payload(notice)}


def _links(parts: Parts, evaluation: evaluations.Evaluation) -> dict[str, str]:
    settings = parts.settings
    links = {}
    if settings.public_url:
        links["API"] = f"{settings.public_url.rstrip('/')}/docs"
        if evaluation.report is not None:
            links["Report"] = f"{settings.public_url.rstrip('/')}/v1/evaluations/{evaluation.id}/report"
    if settings.mlflow_public_url:
        base = settings.mlflow_public_url.rstrip("/")
        links["Model"] = f"{base}/#/models/{evaluation.model_name}/versions/{evaluation.model_version}"
    return links
