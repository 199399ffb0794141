"""JSON schemas in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def resolved(document: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def type_text(document: Schema, raw: Schema) -> str:
    schema = resolved(document, raw)
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(type_text(document, each) for each in alternatives))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {type_text(document, items)}" if items else "list"
    kind = schema.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    text = {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(text, text)
    if schema.get("format") == "date-time":
        text = "time"
    return ", ".join([text, *_bounds(schema)])


def _bounds(schema: Schema) -> Iterator[str]:
    signs = {"minimum": "≥", "ge": "≥", "exclusiveMinimum": ">", "maximum": "≤", "le": "≤", "exclusiveMaximum": "<"}
    for key, sign in signs.items():
        if key in schema:
            yield f"{sign} {schema[key]:g}"
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']} characters"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']} items"
