"""A notice as Prometheus Alertmanager would POST it (webhook version 4), for receivers that exist.

The format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from monitors.notices.notice import Notice, NoticeView, Subject, notice_sentences
from monitors.rules.quantities import single_line

_NO_END: Final = "0001-01-01T00:00:00Z"  # how Go writes the time of an end that has not come
_KEY_LABEL_NAMES: Final = {"whole": "key", "class": "class", "tag": "group", "column": "column"}
MAX_DESCRIPTION_LENGTH: Final = 8000
"""Characters of a description."""
_OFFSET, _PRIME, _SEPARATOR = 14_695_981_039_346_656_037, 1_099_511_628_211, b"\xff"


def alertmanager_payload(notice: Notice, receiver: str) -> dict[str, Any]:
    """The body; `receiver` is the channel's name.

    Alerts are grouped by rule, model and version. As in Alertmanager the group counts as resolved when its last alert
    is, so a receiver that keeps one incident per group closes it then.
    """
    over = notice.kind == "resolved"
    alerts = [_alert(notice, subject, over) for subject in notice.subjects]
    alerts += [_alert(notice, subject, over=False) for subject in notice.other_subjects]
    return _body(alerts, ("alertname", "model", "version"), over and not notice.other_subjects, notice.links, receiver)


def resolve_alerts(body: Mapping[str, Any], positions: Sequence[int], at: datetime) -> dict[str, Any]:
    """What closes alerts of a body that was sent before: those at these places are resolved, with the same labels.

    So they end for their receiver whatever has become of the rule since: its severity, its metric, or all of it.
    """
    alerts = [
        {**alert, "status": _status(True), "endsAt": _time(at)}
        for place, alert in enumerate(body["alerts"])
        if place in positions
    ]
    return {
        **body,
        "status": _status(True),
        "alerts": alerts,
        "commonLabels": _common_items([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common_items([alert["annotations"] for alert in alerts]),
    }


def merge_resolved(body: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A body and, from one that closes alerts, those it lacks: the same alert under labels it had before."""
    fingerprints = {alert["fingerprint"] for alert in body["alerts"]}
    alerts = [*body["alerts"], *(alert for alert in resolved["alerts"] if alert["fingerprint"] not in fingerprints)]
    return {
        **body,
        "alerts": alerts,
        "commonLabels": _common_items([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common_items([alert["annotations"] for alert in alerts]),
    }


def single_alert_payload(
    labels: Mapping[str, str], group_labels: Sequence[str], notice: NoticeView, link: str, receiver: str
) -> dict[str, Any]:
    """The body for an alert that nothing here resolves: a person closes it where incidents are kept.

    `group_labels` are those that name the group, `link` is where the alert leads.
    """
    alert = {
        "status": _status(False),
        "labels": dict(labels),
        "annotations": {
            "summary": single_line(notice.title),
            "description": " ".join(notice_sentences(notice, MAX_DESCRIPTION_LENGTH)),
        },
        "startsAt": _time(notice.at),
        "endsAt": _NO_END,
        "generatorURL": link,
        "fingerprint": fingerprint(labels),
    }
    return _body([alert], group_labels, False, notice.all_links, receiver)


def _body(
    alerts: Sequence[dict[str, Any]], grouped: Sequence[str], over: bool, links: Mapping[str, str], receiver: str
) -> dict[str, Any]:
    """One group of alerts; `grouped` are the labels that name it."""
    grouping = {name: alerts[0]["labels"][name] for name in grouped}
    key = ", ".join(f'{name}="{value}"' for name, value in sorted(grouping.items()))
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{key}}}",
        "truncatedAlerts": 0,
        "status": _status(over),
        "receiver": receiver,
        "groupLabels": grouping,
        "commonLabels": _common_items([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common_items([alert["annotations"] for alert in alerts]),
        "externalURL": links.get("Dashboard", ""),
        "alerts": list(alerts),
    }


def fingerprint(labels: Mapping[str, str]) -> str:
    """Prometheus's identity of a label set: FNV-1a (64 bits) over its sorted names and values, in hexadecimal."""
    total = _OFFSET
    for name, value in sorted(labels.items()):
        for byte in name.encode() + _SEPARATOR + value.encode() + _SEPARATOR:
            total = (total ^ byte) * _PRIME % 2**64
    return f"{total:016x}"


def _alert(notice: Notice, subject: Subject, over: bool) -> dict[str, Any]:
    alert, rule = subject.alert, notice.rule
    key = {_KEY_LABEL_NAMES[rule.metric_spec.key_type]: alert.key} if alert.key else {}
    labels = {
        "alertname": alert.rule,
        "metric": rule.metric,
        "model": alert.model,
        "rule": alert.rule,
        "severity": alert.severity,
        "version": str(alert.version),
        **key,
    }
    annotations = {
        "summary": notice.title,
        "description": single_line(subject.sentence)[:MAX_DESCRIPTION_LENGTH],
        **({"runbook_url": rule.runbook} if rule.runbook else {}),
        **({"confused": "; ".join(notice.top_confusions)} if notice.top_confusions else {}),
    }
    return {
        "status": _status(over),
        "labels": labels,
        "annotations": annotations,
        "startsAt": _time(alert.fired_at or alert.opened_at),
        "endsAt": _time(notice.at) if over else _NO_END,
        "generatorURL": notice.links.get("Report", ""),
        "fingerprint": fingerprint(labels),
    }


def _status(over: bool) -> str:
    return "resolved" if over else "firing"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _common_items(items: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all of them have, with the same value."""
    first, *others = items
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
