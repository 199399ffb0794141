"""A notice as a title and a text, for services that take no more."""

from collections.abc import Mapping
from typing import Final

from monitors.notices.notice import NoticeView, plain_text_body
from monitors.rules.alerts_config import Severity
from monitors.rules.quantities import single_line

_APPRISE_TYPE: Final[Mapping[Severity, str]] = {"info": "info", "warning": "warning", "critical": "failure"}


def apprise_payload(notice: NoticeView) -> dict[str, str]:
    """Title, body and Apprise's kind of message: info, success, warning or failure."""
    kind = "success" if notice.kind == "resolved" else _APPRISE_TYPE[notice.severity]
    return {"title": single_line(notice.title), "body": plain_text_body(notice), "type": kind}
