"""The page of alerts.yaml: keys and values from its JSON schema, meanings from the comments of the shipped file."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Final

from pydantic import TypeAdapter

from generator.markdown import anchor, page, table
from generator.schemas import Schema, type_text
from monitors.rules.alerts_config import json_schema
from monitors.rules.metric_catalog import METRICS


def alerts_page(template: str) -> str:
    """Every key of alerts.yaml: allowed values and defaults from the schema, meanings from the shipped file."""
    schema = json_schema()
    meanings = _comments(template)
    sections = [("The file", "", {"properties": schema["properties"], "required": schema.get("required", ())})]
    for name, definition in schema["$defs"].items():
        sections.append((_spaced(name), definition.get("description", ""), definition))
    parts = []
    for title, words, definition in sections:
        rows = []
        for key, raw in definition.get("properties", {}).items():
            default = "" if key in definition.get("required", ()) else _yaml_default(raw)
            needed = "yes" if key in definition.get("required", ()) else ""
            section = _section(title)
            meaning = raw.get("description") or MEANINGS.get((section, key)) or meanings.get((section, key), "")
            rows.append((f"`{key}`", _yaml_type(schema, raw), needed, default, meaning))
        keys = table(("key", "value", "needed", "default", "meaning"), rows)
        parts.append("\n\n".join(part for part in (f"## {title}", words, keys) if part))
    metrics = [
        (
            f"`{name}`",
            meanings.get(("metric", name), ""),
            ", ".join(unit or "number" for unit in kind.units),
            ", ".join(f"`{option}`" for option in sorted(kind.options)),
            ", ".join(f"`{action}`" for action in kind.allowed_actions),
        )
        for name, kind in METRICS.items()
    ]
    return page(
        "alerts.yaml",
        "What is watched, how sure the platform must be, who is told, and what then happens. An unknown key, unit or "
        "action is refused with file, line, key and the allowed values. Text values may name environment variables: "
        "`${NAME}` must be set, `${NAME:-default}` may be absent, `$${` writes a plain `${`. Durations are a whole "
        "number and a unit: `30s`, `5m`, `6h`, `1d`, `2w`. Editors can check the file by its "
        "[JSON schema](../alerts.schema.json), which `platform alerts schema` prints too.",
        *parts,
        "## Metrics a rule may watch",
        "Beside these, `python:package.module:function` is a function of your own and `evidently:NAME` a metric of "
        "Evidently ([add a metric](../how-to/add-a-metric.md)). How each is decided: "
        "[deciding](../explanation/deciding.md) and [the other rules](../explanation/rules.md).",
        table(("metric", "what it watches", "units of a threshold", "keys of its own", "actions"), metrics),
        "## The shipped file",
        f"`platform init` writes it.\n\n```yaml\n{template.rstrip()}\n```",
    )


MEANINGS: Final = {
    ("", "version"): "the version of this format",
    ("", "schedule"): "how often rules are evaluated",
    ("", "budgets"): "budgets of false alarms by name, each shared in equal parts by the rules that name it",
    ("", "channels"): "who can be told, by a name that rules use",
    ("", "rules"): "what is watched",
    ("email", "type"): "mail through an SMTP server",
    ("email", "sender"): "the address in From",
    ("email", "host"): "the SMTP server",
    ("email", "port"): "of the SMTP server; a port in `host` goes before it",
    ("email", "username"): "empty: no login",
    ("email", "password"): "goes with `username`",
    ("email", "starttls"): "with `tls: auto` and another port than 465: STARTTLS, or plain text",
    ("slack", "url"): "the webhook's address, a secret",
    ("webhook", "url"): "where to post",
    ("alertmanager", "url"): "where to post",
    ("escalation", "after"): "how long nobody acknowledged",
    ("escalation", "notify"): "names of channels",
    ("mute", "from"): "beginning, such as `22:00`",
    ("mute", "to"): "end, such as `07:00`",
    ("mute", "days"): "those on which the hours begin",
    ("mute", "timezone"): "a name of the IANA database",
    ("mute", "severities"): "notices of these are held back",
    ("retraining", "quotas"): "shares that one provider or kind of label may have",
    ("rules", "name"): "how notices and commands name the rule",
    ("rules", "metric"): "one of [these](#metrics-a-rule-may-watch)",
    ("rules", "above"): "the threshold, where high is bad; a rule has this or `below`",
    ("rules", "below"): "the threshold, where low is bad",
    ("rules", "window"): "how far back the value looks",
    (
        "rules",
        "min_samples",
    ): "below so many labels, calls or predictions nothing is decided; all metrics but `volume` need it",
    ("rules", "false_alarms"): "a healthy model is blamed at most so often on average; `budget NAME` is an equal part "
    "of a budget under `budgets`; without it each evaluation is wrong with a chance of 1 - confidence",
    ("rules", "severity"): "how grave an alert is",
    ("rules", "action"): "what a firing alert starts",
    ("rules", "notify"): "names of channels",
    ("rules", "every"): "how often it is evaluated; the schedule's `every` otherwise",
    ("rules", "runbook"): "an address that notices link to",
    (
        "rules",
        "mature",
    ): "delayed labels are read when their answers are so old; without it, as old as 95 % of the labels "
    "of right answers took to come. `0s` where labels come whatever they say",
    ("absent", "label"): "the class of an answer that has got no label of any kind when it is so old",
    ("absent", "after"): "how old; rules, probations and retrainings read delayed labels an hour later and no sooner; "
    "a rule whose metric has no `mature` needs `sources: [audit]`",
    (
        "rules",
        "block",
    ): "what is one observation of a detector or of `group_gap`, because it may be wrong as one: "
    "`request`, `client-hour`, a length of time, `entity:` and a tag, or `label`",
    ("rules", "by"): "of `group_gap`: the tag whose values are the groups",
    ("rules", "column"): "of rules about columns: the name of one, or a list of names; all without it",
    ("rules", "slice"): "only predictions sent with these tags",
    ("rules", "quantile"): "of `label_lag`: which wait is compared; 0.9: one in ten waits longer",
    ("rules", "floor_ms"): "of `latency_ratio`: latencies below this many milliseconds are no matter",
    ("rules", "value"): "of a metric of Evidently: which of its numbers, such as `share`",
}
"""What the shipped file does not explain, or explains for one rule only."""

_SECTIONS: Final = {
    "The file": "",
    "Rule": "rules",
    "Retraining": "retraining",
    "Quotas": "quotas",
    "Audit": "audit",
    "Absent label": "absent",
    "Probation": "probation",
    "Schedule": "schedule",
    "Mute hours": "mute",
    "Escalation": "escalation",
}


def _section(title: str) -> str:
    return _SECTIONS.get(title, title.partition(" ")[0].lower() if title.endswith(" channel") else title.lower())


def _comments(template: str) -> dict[tuple[str, str], str]:
    """Meanings by section and key, the first one each; those of metrics under the section "metric"."""
    found: dict[tuple[str, str], str] = {}
    section, subsection, last = "", "", None
    for raw in template.splitlines():
        line = re.sub(r"^(\s*)# (?=\s*(- )?\w+:( |$))", r"\1", raw)  # a key that is switched off explains itself too
        if last and (more := re.match(r"^\s+# ?\s*(\S.*)$", line)) and len(line) - len(line.lstrip()) > 20:
            found[last] += f" {more[1]}"
            continue
        last = None
        matched = re.match(r"^(\s*)(?:- )?(\w[\w-]*):(?:\s+([^#\s].*?))?(?:\s+# (.*))?$", line)
        if not matched:
            continue
        indent, key, value, comment = len(matched[1]), matched[2], matched[3] or "", matched[4]
        if indent == 0:
            section, subsection = key, ""
        if key == "quotas":
            subsection = key
        if section == "channels" and key == "type":
            subsection = value.strip()
        where = (subsection if indent >= 4 and subsection else section) if indent else ""
        if key == "metric" and comment and value:
            last = ("metric", value.strip())
            found.setdefault(last, comment)
        elif comment:
            last = (where, key)
            found.setdefault(last, comment)
    return found


def _spaced(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return words[0] + words[1:].lower()


def _yaml_type(document: Schema, raw: Schema) -> str:
    alternatives = [each for each in raw.get("anyOf", ()) if each.get("pattern") != r"\$\{.+\}"]
    if alternatives:
        return " or ".join(dict.fromkeys(_yaml_type(document, each) for each in alternatives))
    if "$ref" in raw:
        name = _spaced(raw["$ref"].rpartition("/")[2])
        return f"[{name.lower()}](#{anchor(name)})"
    if raw.get("type") == "null":
        return "nothing"
    if raw.get("examples") and "pattern" in raw and len(raw["examples"]) < 6:
        return "such as " + ", ".join(f"`{example}`" for example in raw["examples"])
    if raw.get("type") == "array":
        return f"list of {_yaml_type(document, raw.get('items', {}))}"
    if "patternProperties" in raw:
        inner = next(iter(raw["patternProperties"].values()))
        return "by name: " + " or ".join(_yaml_type(document, each) for each in inner.get("oneOf", [inner]))
    return type_text(document, {key: value for key, value in raw.items() if key != "anyOf"})


def _yaml_default(raw: Schema) -> str:
    value = raw.get("default")
    for each in raw.get("anyOf", ()):
        value = each.get("default", value)
    if any("promotions" in str(example) for example in raw.get("examples", ())) and isinstance(value, float):
        return f"`1 per {round(1 / value)} promotions`"
    if value is None or isinstance(value, dict) or value in ("", []):
        return ""
    if isinstance(value, str) and re.fullmatch(r"-?P(?=.).*", value):
        return f"`{_duration(TypeAdapter(timedelta).validate_python(value))}`"
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0 and (unit != "w" or seconds > 604800):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
