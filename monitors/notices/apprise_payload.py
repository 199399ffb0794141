"""A notice as a title and a text, for services that take no more; it sends nothing."""

from collections.abc import Mapping
from typing import Final

from monitors.notices.notice import Told, plain_text
from monitors.rules.alerts_config import Severity
from monitors.rules.formatting import cleaned

_TYPE: Final[Mapping[Severity, str]] = {"info": "info", "warning": "warning", "critical": "failure"}


def push_payload(notice: Told) -> dict[str, str]:
    """Title, body and Apprise's kind of message: info, success, warning or failure."""
    kind = "success" if notice.kind == "resolved" else _TYPE[notice.severity]
    return {"title": cleaned(notice.title), "body": plain_text(notice), "type": kind}
