"""What people and machines are told about an alert: Slack, email and webhook texts; it sends nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Any, Final

from monitors import wording
from monitors.alerts import Alert, Kind
from monitors.rules import Rule

_MARK: Final[Mapping[Kind, str]] = {"firing": "🔴", "repeat": "🔁", "resolved": "✅"}
_HEADLINE: Final[Mapping[Kind, str]] = {"firing": "firing", "repeat": "still firing", "resolved": "resolved"}


@dataclass(frozen=True)
class Notice:
    """One thing to say about one alert; one idempotency key is one notice, however often it is sent."""

    kind: Kind
    alert: Alert
    rule: Rule
    sentence: str
    at: datetime
    links: Mapping[str, str]
    idempotency_key: str

    @property
    def title(self) -> str:
        about = f" (class {self.alert.key})" if self.alert.key else ""
        return _one_line(f"{_HEADLINE[self.kind]}: {self.alert.rule}{about} · {self.alert.model} v{self.alert.version}")

    @property
    def facts(self) -> dict[str, str]:
        """The numbers of the alert in plain words, in the order they are read."""
        alert, metric = self.alert, self.rule.metric
        return {
            "Value": wording.amount(metric, alert.value),
            f"Interval ({100 * self.rule.confidence:g} % each side)": wording.interval(metric, alert.low, alert.high),
            "Baseline": wording.baseline(metric, alert.baseline),
            "Allowed": wording.amount(metric, alert.threshold),
            "Samples": f"{alert.n:,}",
            "Version": f"{alert.model} v{alert.version}",
            "Severity": alert.severity,
            "Action": self.rule.action,
        }

    @property
    def all_links(self) -> dict[str, str]:
        return {**self.links, **({"Runbook": self.rule.runbook} if self.rule.runbook else {})}


def idempotency_key(alert_id: str, kind: Kind, ordinal: int) -> str:
    """The identity of a notice: the same for every attempt to send it. `ordinal` is the alert's `notices`."""
    return f"{alert_id}-{kind}-{ordinal}"


def slack_payload(notice: Notice) -> dict[str, Any]:
    """The body for a Slack incoming webhook, in blocks, with a plain text for phones."""
    title = f"{_MARK[notice.kind]} {notice.title}"
    fields = [_markdown(f"*{_slack(name)}*\n{_slack(value)}", 2000) for name, value in notice.facts.items()]
    links = " · ".join(f"<{_slack(url)}|{_slack(name)}>" for name, url in notice.all_links.items())
    context = " · ".join(part for part in (links, f"`{notice.idempotency_key}`") if part)
    return {
        "text": f"{_slack(title)} — {_slack(notice.sentence)}",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title[:150], "emoji": True}},
            {"type": "section", "text": _markdown(_slack(notice.sentence), 3000)},
            {"type": "section", "fields": fields},
            {"type": "context", "elements": [_markdown(context, 3000)]},
        ],
    }


def email_message(notice: Notice, sender: str, to: tuple[str, ...], message_id_domain: str) -> EmailMessage:
    """The email: plain text and HTML, one thread per alert, one Message-ID per notice."""
    message = EmailMessage()
    message["From"], message["To"] = sender, ", ".join(to)
    message["Subject"] = f"[{notice.alert.severity}] {notice.title}"
    message["Date"] = format_datetime(notice.at.astimezone(UTC))
    message["Message-ID"] = f"<{notice.idempotency_key}@{message_id_domain}>"
    message["References"] = f"<{notice.alert.id}@{message_id_domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_text(notice))
    message.add_alternative(_html(notice), subtype="html")
    return message


def webhook_payload(notice: Notice) -> dict[str, Any]:
    """The body for any other program, shaped after Standard Webhooks: type, timestamp, data."""
    alert = notice.alert
    return {
        "type": f"alert.{notice.kind}",
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "data": {
            "alert_id": alert.id,
            "idempotency_key": notice.idempotency_key,
            "rule": alert.rule,
            "metric": notice.rule.metric,
            "key": alert.key,
            "model": alert.model,
            "version": alert.version,
            "state": alert.state,
            "severity": alert.severity,
            "action": notice.rule.action,
            "sentence": notice.sentence,
            "value": alert.value,
            "low": alert.low,
            "high": alert.high,
            "baseline": alert.baseline,
            "threshold": alert.threshold,
            "n": alert.n,
            "opened_at": alert.opened_at.astimezone(UTC).isoformat(),
            "links": notice.all_links,
        },
    }


def _text(notice: Notice) -> str:
    facts = "\n".join(f"{name}: {value}" for name, value in notice.facts.items())
    links = "\n".join(f"{name}: {url}" for name, url in notice.all_links.items())
    return "\n\n".join(part for part in (notice.title, notice.sentence, facts, links) if part) + "\n"


def _html(notice: Notice) -> str:
    rows = "".join(
        f'<tr><th align="left">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in notice.facts.items()
    )
    links = " · ".join(f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in notice.all_links.items())
    return (
        f"<html><body><h2>{escape(notice.title)}</h2><p>{escape(notice.sentence)}</p>"
        f'<table cellpadding="4">{rows}</table><p>{links}</p></body></html>\n'
    )


def _markdown(text: str, most: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text[:most]}


def _slack(text: str) -> str:
    """Slack's three control characters, escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    return " ".join(text.split())
