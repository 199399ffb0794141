"""Sets up logging so that no text in a record steers a terminal or forges a line, whichever handler writes it."""

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Final

from mlplatform.host.control_characters import escape_controls, indent_further_lines

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class SafeLogRecord(logging.LogRecord):
    """A record with its message on one line; a traceback keeps its lines, indented under the first."""

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401 - as logging makes them
        super().__init__(*args, **more)
        self.name = escape_controls(self.name)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = format_traceback_safely(*self.exc_info)

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return escape_controls(super().getMessage())


def set_up_logging(level: str) -> None:
    """Let every record of this process be a safe one, and write those of a level to stderr."""
    logging.setLogRecordFactory(SafeLogRecord)
    logging.basicConfig(level=level.upper(), format=FORMAT)


def format_traceback_safely(
    kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> str:
    """A traceback whose further lines are indented, so that no text inside it is taken for a line of the log."""
    return indent_further_lines("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))


def print_tracebacks_safely() -> None:
    """Let what ends a thread unexpectedly be printed harmless as well."""

    def thread_ended(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            sys.stderr.write(format_traceback_safely(args.exc_type, args.exc_value, args.exc_traceback) + "\n")

    threading.excepthook = thread_ended
