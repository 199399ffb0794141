"""Nothing that comes from outside forges a line of the log or steers the terminal that shows it."""

import io
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from mlplatform.host.log_setup import FORMAT, SafeLogRecord, print_tracebacks_safely, set_up_logging

FORGED = "2026-01-01 ERROR root all is lost"
HOSTILE = f"eve\n{FORGED}\r{FORGED}\x1b[2J\u202e\x9b1m\u2028"
STEERING = "\x1b\x9b\u202e\u2028\r"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What a plain handler of anybody's writes."""
    before = logging.getLogRecordFactory()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(FORMAT))
    log = logging.getLogger("tested")
    log.addHandler(handler)
    set_up_logging("info")
    yield stream
    log.removeHandler(handler)
    logging.setLogRecordFactory(before)


def test_a_message_is_one_line_wherever_the_text_stands(out: io.StringIO) -> None:
    log = logging.getLogger("tested")
    log.error("reviewer %s said %r", HOSTILE, HOSTILE)
    log.error(HOSTILE)
    log.error("%(who)s", {"who": HOSTILE})
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert not set(out.getvalue()) & set(STEERING)
    assert all("tested" in line for line in lines)


def test_a_traceback_keeps_its_lines_and_none_is_taken_for_a_line_of_the_log(out: io.StringIO) -> None:
    try:
        try:
            raise ValueError(HOSTILE)
        except ValueError as error:
            raise RuntimeError(f"because {HOSTILE}") from error
    except RuntimeError:
        logging.getLogger("tested").exception("it failed")
    first, *others = out.getvalue().splitlines()
    assert first.endswith("it failed")
    assert others[0].startswith("Traceback")
    assert all(line.startswith("  ") or line == "" for line in others[1:])
    assert not set(out.getvalue()) & set(STEERING)


def test_a_thread_that_ends_unexpectedly_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.excepthook
    try:
        print_tracebacks_safely()
        try:
            raise ValueError(HOSTILE)
        except ValueError as error:
            threading.excepthook(threading.ExceptHookArgs((ValueError, error, error.__traceback__, None)))
    finally:
        threading.excepthook = before
    err = capsys.readouterr().err
    assert "ValueError: eve" in err
    assert not set(err) & set(STEERING)
    assert not any(line.startswith("2026") for line in err.splitlines())
    assert sys.stderr is not None


def test_records_of_libraries_are_safe_too() -> None:
    record = SafeLogRecord("x\x1b", logging.INFO, "p", 1, "%s", ("a\nb",), None)
    assert (record.name, record.getMessage()) == ("x\\x1b", "a\\nb")
