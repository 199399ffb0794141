"""A world in which several classes are misread at once, watched by rules that tell every kind of channel."""

from dataclasses import replace

from mlplatform.alerting import alert_records, evaluations
from mlplatform.alerting.notifications import enqueue_alert_notice
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from monitors.alerts import Alert, AlertState, NoticeKind
from monitors.notices.notice import Subject
from tests.support.monitoring_world import RULES, notices, promote, rule, tick, with_rules
from tests.support.platform_world import prediction, recorded

EVERYWHERE = RULES.replace(
    "  nobody:",
    '  on-call: {type: alertmanager, url: "http://receiver.test/hidden-path"}\n'
    '  phone: {type: apprise, url: "ntfys://hidden-token@push.test/topic"}\n'
    "  nobody:",
).replace("      notify: [team-slack]}", "      notify: [team-slack, mail, events, on-call, phone, nobody]}")
MISREAD = {"3": "5", "5": "6", "8": "3"}


def misread_world(context: AppContext) -> AppContext:
    """A champion with 20 labelled answers of each of three classes: ten right, eight read as MISREAD says, two as 0."""
    promote(with_rules(context, EVERYWHERE))
    now = context.clock()
    rows, truths = [], []
    for truth, label in MISREAD.items():
        labels = [truth] * 10 + [label] * 8 + ["0"] * 2
        for place, given in enumerate(labels):
            rows.append(prediction(now, seed=100 * int(truth) + place, label=given, confidence=0.50 + place / 50))
            truths.append(truth)
    ids = recorded(context.database, *rows)
    given_labels = [
        label_records.SubmittedLabel(key, truth, "audit", "ann", now) for key, truth in zip(ids, truths, strict=True)
    ]
    with context.database.write() as connection:
        label_records.insert_labels(connection, given_labels, now)
    tick(context, seconds=1)
    return context


def evaluated(context: AppContext, state: str = "breach", name: str = "class-error") -> evaluations.Evaluation:
    """An evaluation of the last hour, written now."""
    now, the_rule = context.clock(), rule(context, name)
    evaluation = evaluations.Evaluation(
        id=uuid7(),
        rule=name,
        slot=now,
        at=now,
        model_name="digits",
        model_version=1,
        window_start=now - the_rule.window,
        window_end=now,
        state=state,
        findings=[],
        report=None,
        evaluated_by="test",
    )
    with context.database.write() as connection:
        evaluations.add(connection, evaluation)
    tick(context, seconds=1)
    return evaluation


def kept(
    context: AppContext, evaluation: evaluations.Evaluation, keys: str, state: AlertState = "firing"
) -> list[Subject]:
    """Alerts about these classes, written as that evaluation leaves them."""
    told = []
    with context.database.write() as connection:
        known = {alert.key: alert for alert in alert_records.open_alerts(connection, "digits")}
        for key in keys:
            fresh = Alert(
                id=uuid7(),
                rule=evaluation.rule,
                key=key,
                model="digits",
                version=1,
                severity="warning",
                state=state,
                opened_at=evaluation.at,
                since=evaluation.at,
                fired_at=evaluation.at,
                notices=1,
                value=0.5,
                low=0.3,
                high=0.7,
                threshold=0.1,
                n=20,
            )
            alert = replace(known.get(key, fresh), state=state)
            told.append(Subject(alert, f"Class {key}: 10 of 20 labelled answers wrong, 50.0 %."))
            alert_records.save(connection, alert, told[-1].sentence, evaluation.id)
    return told


def tell(context: AppContext, subjects: list[Subject], kind: NoticeKind, evaluation: evaluations.Evaluation) -> int:
    """Post one notice about these alerts."""
    with context.database.write() as connection:
        return enqueue_alert_notice(connection, context, rule(context, evaluation.rule), subjects, kind, evaluation)


def body_for(context: AppContext, channel: str) -> dict[str, object]:
    """What was last put into the outbox for one channel."""
    found: OutboxMessage = next(message for message in reversed(notices(context)) if message.channel == channel)
    body: dict[str, object] = found.payload["body"]
    return body
