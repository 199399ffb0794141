"""The page of HTTP endpoints, from the OpenAPI document of a server that asks for keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from generator.markdown import anchor, first_line, page, table
from generator.schemas import Schema, resolved, type_text
from generator.server import ServerDescription

VERBS: Final = ("get", "post", "put", "delete")
TAGS: Final = {
    "predict": "Predictions",
    "feedback": "Feedback and review",
    "retrain": "Retraining",
    "models": "Models and rollouts",
    "monitors": "Monitoring",
    "inference": "Open Inference Protocol v2 (KServe, Triton)",
    "mlflow": "MLflow's scoring protocol",
    "": "Operations",
}
MOST_ITEMS: Final = 3
"""Items of a list that an example shows; a picture of 28 rows says no more than its first."""


def http_page(served: ServerDescription) -> str:
    """Every endpoint by subject, with parameters, body, answers and scope."""
    operations: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, verbs in served.openapi["paths"].items():
        for verb in VERBS:
            if verb in verbs:
                tag = next(iter(verbs[verb].get("tags", [])), "")
                operations.setdefault(tag, []).append((verb.upper(), path, verbs[verb]))
    order = [*(tag for tag in TAGS if tag in operations), *(tag for tag in operations if tag not in TAGS)]
    overview = [
        (f"[`{verb} {path}`](#{anchor(f'{verb} {path}')})", first_line(operation.get("description")), _scope(operation))
        for tag in order
        for verb, path, operation in operations[tag]
    ]
    pages = [(f"`{verb} {path}`", words) for verb, path, words in served.pages]
    return page(
        "HTTP",
        "The server shows this as a page to try at `/docs`, and as a document at `/openapi.json`. The scope is what a "
        "key needs where the server asks for keys ([who may do what](../explanation/security.md)); an endpoint without "
        "one is open to anybody. How errors look is under [errors](#errors), how to send inputs in each form under "
        "[send predictions and labels](../how-to/send-predictions-and-labels.md).",
        table(("endpoint", "what it does", "scope"), overview),
        "## Pages for people",
        table(("page", "what it shows"), pages),
        *(
            "\n\n".join([f"## {TAGS.get(tag, tag)}", *(_operation(served.openapi, *each) for each in operations[tag])])
            for tag in order
        ),
        ERRORS,
    )


ERRORS: Final = """## Errors

Errors are problem details (RFC 9457, `application/problem+json`) with `type`, `title`, `status` and `detail`, and in
the form of their protocol under `/v2` and `/invocations`.

| status | meaning |
|---|---|
| 400 | the request cannot be read |
| 401 | no good key |
| 403 | a key without the scope, or the request of another site's page |
| 404 | not known |
| 408 | headers or body came too slowly |
| 409 | the state moved on |
| 413, 414, 431 | body, request line or headers over a limit |
| 415 | a packed body (`Content-Encoding`) |
| 421 | not this server's name |
| 422 | the input cannot be used |
| 429 | too many requests, with `Retry-After` |
| 503 | no model, or database or registry away (with `Retry-After`) |"""


def _scope(operation: Schema) -> str:
    found = re.search(r"Scope: (.+)$", operation.get("description", ""))
    return found[1] if found else ""


def _operation(document: Schema, verb: str, path: str, operation: Schema) -> str:
    words = re.sub(r"\n*Scope: .+$", "", operation.get("description", "")).strip()
    scope = _scope(operation)
    parts = [f"### {verb} {path}", words, f"Scope: {scope}." if scope else "Open to anybody."]
    parameters = [
        (f"`{each['name']}`", each["in"], type_text(document, each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", [])
    ]
    parts.append(table(("parameter", "in", "type", "meaning"), parameters))
    bare = []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        described = list(_body(document, content))
        if any(described):
            parts += [f"Body, `{kind}`:", *described]
        else:
            bare.append(f"`{kind}`")
    parts.append(f"Or the content itself as the body: {', '.join(bare)}." if bare else "")
    for status, answer in operation.get("responses", {}).items():
        if status.startswith("2"):
            contents = answer.get("content", {})
            if not contents:
                parts.append(f"Answers {status} without a body.")
            for kind, content in contents.items():
                described = list(_body(document, content))
                end = ":" if any(described) else "."
                parts += [f"Answers {status}, `{kind}`{end}", *described]
    return "\n\n".join(part for part in parts if part)


def _body(document: Schema, content: Schema) -> Iterator[str]:
    schema = resolved(document, content.get("schema", {}))
    alternatives = schema.get("oneOf") or schema.get("anyOf") or [schema]
    for number, each in enumerate(alternatives):
        rows = list(_fields(document, resolved(document, each), ""))
        if number and rows:
            yield "or"
        yield table(("field", "type", "needed", "meaning"), rows)
    if "example" in content and not isinstance(content["example"], str):
        yield f"```json\n{_json(content['example'])}\n```"


def _fields(document: Schema, schema: Schema, before: str) -> Iterator[tuple[str, ...]]:
    if schema.get("type") == "array":
        yield from _fields(document, resolved(document, schema.get("items", {})), f"{before}[]")
        return
    for name, raw in schema.get("properties", {}).items():
        field = resolved(document, raw)
        word = f"{before}.{name}" if before else name
        needed = "yes" if name in schema.get("required", ()) else ""
        yield f"`{word}`", type_text(document, raw), needed, raw.get("description", field.get("description", ""))
        inner = [resolved(document, each) for each in (field, *field.get("anyOf", ()))]
        for each in inner:
            if each.get("type") in ("object", "array"):
                yield from _fields(document, each, word)


def _json(example: object) -> str:
    """An example, its long lists and texts shortened, lists of plain values on one line."""
    text = json.dumps(_shortened(example), indent=2, ensure_ascii=False)
    inner = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
    return inner.sub(lambda found: "[" + re.sub(r"\s*\n\s*", " ", found[1]) + "]", text)


def _shortened(value: object) -> object:
    if isinstance(value, list):
        most = 1 if value and isinstance(value[0], list) else MOST_ITEMS
        items = [_shortened(each) for each in value[:most]]
        return items if len(value) <= most else [*items, "..."]
    if isinstance(value, dict):
        shown = {key: _shortened(each) for key, each in list(value.items())[: 4 * MOST_ITEMS]}
        return shown if len(value) <= 4 * MOST_ITEMS else shown | {"...": "..."}
    return f"{value[:24]}..." if isinstance(value, str) and len(value) > 60 else value
