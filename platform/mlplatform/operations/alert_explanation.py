"""Explains why an alert fired, in words and numbers, and what followed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mlplatform.alerting.alert_records import TransitionRow
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.links import alert_links
from mlplatform.context import AppContext
from mlplatform.host.control_characters import escape_controls
from mlplatform.operations.alert_details import AlertDetails, load_alert_details
from monitors.alerts import Alert
from monitors.errors import RulesError
from monitors.notices.notice import keys_text
from monitors.rules import quantities
from monitors.rules.alerts_config import Rule
from monitors.statistics.label_maturity import COVERAGE


@dataclass(frozen=True)
class AlertExplanation:
    """A heading, and sections of lines; each line is one statement."""

    alert: Alert
    heading: str
    sections: Mapping[str, Sequence[str]]

    @property
    def text(self) -> str:
        """All of it for a terminal."""
        parts = [
            "\n".join([name, *(f"  {escape_controls(line)}" for line in lines)])
            for name, lines in self.sections.items()
        ]
        return "\n\n".join([f"{self.heading}\nalert {escape_controls(self.alert.id)}", *parts])


def load_explanation(context: AppContext, alert_id: str) -> AlertExplanation:
    """Why that alert fired; raises NotFoundError for an unknown id.

    Rules that cannot be read, as on the host of a server alone, take only what they would tell.
    """
    with context.database.read() as connection:
        details = load_alert_details(connection, alert_id)
    alert, rules_problem = details.alert, ""
    try:
        rules = context.rules.rules if context.rules.model == alert.model else ()
    except RulesError as error:
        rules, rules_problem = (), f"The rules cannot be read here: {error}"
    to_acknowledge = [alert_id] if alert.state == "firing" else []
    links = alert_links(context.settings, details.cause or details.latest, to_acknowledge, details.run_id)
    rule = next((rule for rule in rules if rule.name == alert.rule), None)
    return build_explanation(details, rule, links, rules_problem)


def build_explanation(
    details: AlertDetails, rule: Rule | None, links: Mapping[str, str], rules_problem: str = ""
) -> AlertExplanation:
    """Explain an alert by the rule as it is written now; without one, numbers have no units to show."""
    alert = details.alert
    sections: dict[str, Iterable[str]] = {
        "Why it fired" if alert.fired_at else "Why it was opened": _cause_lines(details, rule),
        "The rule": _rule_lines(rule, alert)
        if rule
        else [rules_problem or f"{alert.rule} is no longer in alerts.yaml."],
        "What the rule promises": [guarantee_text(rule)] if rule else [],
        "Now": _current_lines(details, rule),
        "History": [_change_line(change) for change in details.changes],
        "Notices": _notice_lines(details),
        "Actions": _action_lines(details),
        "Links": _link_lines(links, rule),
    }
    filled = {name: lines for name, section in sections.items() if (lines := list(section))}
    key = f" ({keys_text(rule, [alert.key]) if rule else alert.key})" if alert.key else ""
    heading = (
        f"{alert.rule}{key} · {alert.model} v{alert.version} · {alert.severity} · {alert.state} since "
        f"{_format_time(alert.since)}"
    )
    return AlertExplanation(alert, escape_controls(heading), filled)


_INDEPENDENCE_NOTE: Final = (
    "Windows that overlap change nothing in that; observations that depend on each other, such as the latencies of one "
    "slow minute, do."
)


def guarantee_text(rule: Rule) -> str:
    """How often a healthy model makes the rule fire, as its decision guarantees."""
    if rule.metric_spec.is_exact_count:
        return "What is counted, not estimated, has no false alarms: it fires when the count is over the threshold."
    if rule.uses_detector and rule.metric_spec.is_early_warning:
        assert rule.false_alarms is not None
        return (
            f"While the model is as sure of its answers as on the golden set, false warnings come at most "
            f"{rule.false_alarms.text} on average, at any rate of answers and however often it is asked. It "
            "believes calibrated confidence: a model that is sure and wrong hides its errors. Only labels prove any."
        )
    if rule.uses_detector:
        assert rule.false_alarms is not None
        return (
            f"While the model is healthy, false alarms come at most {rule.false_alarms.text} on average, over "
            "everything the rule watches, at any rate of labels and however often it is asked. It takes the labels of "
            f"one {rule.block.noun} for one observation and each source of labels for a sample of its own. Healthy "
            "means that no observation is expected to be worse than allowed, whatever came before, and that an answer "
            "gets its label, and gets it in time, whether it was right or wrong."
        )
    if rule.false_alarms is not None:
        return (
            f"While all is well, false alarms come at most {rule.false_alarms.text} on "
            f"average{rule.metric_spec.scope_text}: "
            f"each scheduled look is wrong with a chance of at most {1 - rule.confidence:.2g}. {_INDEPENDENCE_NOTE}"
        )
    return (
        f"While the model is healthy, one evaluation raises a false alarm with a chance of at most "
        f"{100 * (1 - rule.confidence):.3g} %{rule.metric_spec.scope_text}. That holds per evaluation: "
        "windows overlap, "
        "so the rate per month is higher."
    )


def _cause_lines(details: AlertDetails, rule: Rule | None) -> Iterable[str]:
    evaluation = details.cause or details.latest
    finding = _finding_for_key(evaluation, details.alert.key)
    yield details.sentence if finding is None else finding["sentence"]
    yield f"Decided {_format_time(evaluation.at)} on what came since {_format_time(evaluation.window_start)}."
    if details.alert.changed_at is not None:
        yield f"There have been too many errors since about {_format_time(details.alert.changed_at)}."
    if finding is not None and rule is not None:
        yield from _number_lines(rule, finding)


def _rule_lines(rule: Rule, alert: Alert) -> Iterable[str]:
    """The rule as alerts.yaml has it."""
    metric = rule.metric
    side = "above" if rule.above is not None else "below"
    limit, window = quantities.metric_value_text(metric, rule.threshold), quantities.duration_text(rule.window)
    yield f"{metric} {side} {limit}, in a window of {window}"
    if alert.threshold != rule.threshold:
        yield f"when it was last judged, the rule said {quantities.metric_value_text(metric, alert.threshold)}"
    if not rule.metric_spec.is_exact_count:
        samples = quantities.count_text(rule.min_samples, "sample")
        yield f"decides from {samples} on, with {100 * rule.confidence:.7g} % confidence"
    if rule.slice_text or rule.by:
        yield f"looks at answers{rule.slice_text}{f', group by group of the tag {rule.by}' if rule.by else ''}"
    if rule.false_alarms is not None:
        yield f"false alarms: at most {rule.false_alarms.text}"
    if rule.reads_labels:
        yield f"labels from: {', '.join(rule.sources)}"
    if rule.uses_detector and rule.metric_spec.reads_labels:
        yield f"one observation: the labels of one {rule.block.noun} from one source"
        if "delayed" in rule.sources:
            yield f"delayed labels are read when their answers are {_maturity_text(rule)}"
    better = "less" if rule.above is not None else "more"
    clear = quantities.metric_value_text(metric, rule.clear_level)
    yield f"fires after {quantities.duration_text(rule.for_)}, ends at {clear} or {better}"
    repeat = quantities.duration_text(rule.repeat)
    yield f"action: {rule.action}; tells: {', '.join(rule.notify) or 'nobody'}, every {repeat}"


def _maturity_text(rule: Rule) -> str:
    if rule.mature is None:
        return f"as old as {COVERAGE:.0%} of the labels of right answers took to come".replace("%", " %")
    return f"{quantities.duration_text(rule.mature)} old"


def _current_lines(details: AlertDetails, rule: Rule | None) -> Iterable[str]:
    """The last evaluation, where it is another one than the cause."""
    if details.cause is not None and details.cause.id == details.latest.id:
        return
    finding = _finding_for_key(details.latest, details.alert.key)
    yield f"{details.sentence} ({_format_time(details.latest.at)})"
    if finding is not None and rule is not None:
        yield from _number_lines(rule, finding)


def _number_lines(rule: Rule, finding: Mapping[str, Any]) -> Iterable[str]:
    metric = rule.metric
    limits = quantities.interval_text(metric, finding["low"], finding["high"])
    yield f"value: {quantities.metric_value_text(metric, finding['value'])}"
    if not rule.metric_spec.is_exact_count:
        yield f"interval ({100 * rule.confidence:.7g} % each side): {limits}"
    if finding["baseline"] is not None:
        yield f"baseline: {quantities.baseline_text(metric, finding['baseline'])}"
    yield f"allowed: {quantities.metric_value_text(metric, finding['threshold'])}"
    yield f"samples: {finding['n']:,}"
    if finding.get("evidence") is not None:
        together = "1/j each is one of j classes together that had none yet"
        yield f"evidence: {finding['evidence']:.2f}; 1 is an alarm alone, {together}"


def _finding_for_key(evaluation: Evaluation, key: str) -> Mapping[str, Any] | None:
    return next((finding for finding in evaluation.findings if finding["key"] == key), None)


def _change_line(change: TransitionRow) -> str:
    before = f"{change.from_state} → " if change.from_state else ""
    return f"{_format_time(change.at)} {change.actor}: {before}{change.to_state}. {change.reason}"


def _notice_lines(details: AlertDetails) -> Iterable[str]:
    for message in details.notices:
        tries = f"{message.attempts} {'try' if message.attempts == 1 else 'tries'}"
        when = f" {_format_time(message.delivered_at)}" if message.delivered_at else ""
        answer = f": {message.last_error}" if message.last_error else ""
        kind = message.payload.get("kind", "notice")
        yield f"{_format_time(message.created_at)} {kind} to {message.channel}: {message.state}{when}, {tries}{answer}"


def _action_lines(details: AlertDetails) -> Iterable[str]:
    for retraining in details.retrainings:
        candidate = f", candidate v{retraining.candidate_version}" if retraining.candidate_version else ""
        promoted = ", promoted" if retraining.promoted else ""
        state = f"{retraining.state}{candidate}{promoted}"
        yield f"{_format_time(retraining.requested_at)} retraining {retraining.id}: {state}"
    for task in details.tasks:
        yield f"{_format_time(task.at)} {task.kind} {task.id}: {task.state}"


def _link_lines(links: Mapping[str, str], rule: Rule | None) -> Iterable[str]:
    runbook = {"Runbook": rule.runbook} if rule is not None and rule.runbook else {}
    return [f"{name}: {url}" for name, url in {**links, **runbook}.items()]


def _format_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
