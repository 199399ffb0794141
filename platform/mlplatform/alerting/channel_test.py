"""Tries one channel with a sample notice, sent at once (`platform alerts test`), without alerts or outbox."""

from datetime import datetime, timedelta
from typing import Final

import httpx

from mlplatform.alerting.channels.adapters import render
from mlplatform.alerting.delivery import create_delivery
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.links import alert_links
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.context import AppContext, load_environment
from mlplatform.errors import DeliveryError, NotFoundError, SettingsError
from mlplatform.ids import uuid7
from mlplatform.settings import Settings
from monitors.alerts import Alert
from monitors.notices.notice import Notice, Subject
from monitors.rules.alerts_config import Rule
from monitors.rules.channel_config import Channel
from monitors.rules.yaml_document import read_document

_TEST_SENTENCE: Final = (
    "This is a test of channel {name}: nothing is wrong, and every number is made up. "
    "A real notice says here what was found and how sure that is."
)


def send_test_notice(context: AppContext, name: str, client: httpx.Client | None = None) -> None:
    """Send a sample notice through a channel.

    Raises NotFoundError for a name that alerts.yaml lacks, SettingsError for a channel that is switched off, and
    DeliveryError with the receiver's answer.
    """
    channels = context.rules.channels
    if name not in channels:
        names = ", ".join(sorted(channels)) or "none"
        raise NotFoundError(f"channel {name!r} is not in {context.settings.alerts_file}; it has: {names}")
    channel = channels[name]
    if not channel.is_configured:
        raise SettingsError(f"channel {name!r} is switched off: {_empty_keys_text(context, name, channel)}")
    now = context.clock()
    key = f"test-{uuid7()}"
    payload = render(_sample_notice(context.rules.model, context.settings, name, key, now), name, channel)
    delivery = create_delivery(context, client)
    try:
        delivery.send(OutboxMessage(key, key, None, name, dict(payload), "waiting", now, now, 0, None, None))
    except DeliveryError as error:
        raise DeliveryError(f"channel {name!r}: {error}") from error


def _empty_keys_text(context: AppContext, name: str, channel: Channel) -> str:
    """The empty keys, each with the environment variable that alerts.yaml takes it from."""
    path = context.settings.alerts_file
    written = read_document(path.read_text(encoding="utf-8"), str(path), load_environment()).from_environment
    sources = {key: written.get(("channels", name, key)) for key in channel.missing_keys}
    return "; ".join(
        f"{key} is empty ({f'set {variable}' if variable else f'write it in {path}'})"
        for key, variable in sources.items()
    )


def _sample_notice(model: str, settings: Settings, name: str, key: str, now: datetime) -> Notice:
    """A firing notice of a rule named test."""
    rule = Rule.model_validate(
        {"name": "test", "metric": "accuracy_drop", "above": "0.5 points", "window": "24h", "min_samples": 50}
    )
    alert = Alert(
        id=key,
        rule=rule.name,
        key="",
        model=model,
        version=1,
        severity="info",
        state="firing",
        opened_at=now,
        since=now,
        fired_at=now,
        notices=1,
        value=0.021,
        low=0.011,
        high=0.032,
        baseline=0.992,
        threshold=rule.threshold,
        n=1200,
    )
    evaluation = Evaluation(
        id=key,
        rule=rule.name,
        slot=now,
        at=now,
        model_name=model,
        model_version=1,
        window_start=now - timedelta(days=1),
        window_end=now,
        state="ok",
        findings=[],
        report=None,
        evaluated_by="test",
    )
    subject = Subject(alert, _TEST_SENTENCE.format(name=name))
    return Notice("firing", rule, (subject,), now, alert_links(settings, evaluation), key)
