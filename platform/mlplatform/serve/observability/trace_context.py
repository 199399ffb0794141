"""Reads the W3C trace context of a request, and the tag that keeps its trace id with the prediction.

https://www.w3.org/TR/trace-context/ - a header that does not follow it is no header.
"""

import re
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "traceparent"
TRACE_ID_TAG: Final = "trace_id"
"""The tag that keeps the trace id where the request has an id of its own."""
_TRACEPARENT_PATTERN: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True)
class TraceContext:
    """Which trace a request belongs to, and which span sent it."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(header: str) -> TraceContext | None:
    """The trace of a `traceparent` header, None where it is absent or malformed; later versions are read alike."""
    match = _TRACEPARENT_PATTERN.fullmatch(header.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


def add_trace_tag(tags: dict[str, str], trace: TraceContext | None, request_id: str, max_tags: int) -> dict[str, str]:
    """The tags of an answer, with its trace id where the request id is another one and there is room."""
    if trace is None or request_id == trace.trace_id or len(tags) >= max_tags:
        return tags
    return {TRACE_ID_TAG: trace.trace_id, **tags}
