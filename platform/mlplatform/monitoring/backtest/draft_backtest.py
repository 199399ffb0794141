"""Backtests a draft of alerts.yaml in a process of its own, within bounds of time and memory, and keeps nothing.

The draft is a stranger's text: it is checked in that process too, no ${NAME} in it is given a value, and whatever the
history costs is taken from no request.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import IO, Any, Final

from mlplatform.context import AppContext, create_context
from mlplatform.errors import BusyError, PlatformError
from mlplatform.host.parent_death import end_with_parent
from mlplatform.monitoring.backtest.backtest import (
    BacktestAlert,
    BacktestResult,
    RuleSummary,
    TooManySlotsError,
    run_backtest,
)
from mlplatform.serialization import to_jsonable
from mlplatform.settings import Settings
from monitors.errors import RulesError
from monitors.rules.alerts_config import parse_rules
from registry.errors import RegistryError

log = logging.getLogger(__name__)
FILE_NAME: Final = "draft"
MAX_ERROR_BYTES: Final = 4_000
COMMAND: Final = (sys.executable, "-P", "-m", "mlplatform.monitoring.backtest.draft_backtest")


@dataclass(frozen=True)
class DraftLimits:
    """What the process may use: time by the clock, memory that it writes to, slots, and alarms that it tells of."""

    seconds: float = 45.0
    memory_mb: int = 1024
    slots: int = 120_000
    alarms: int = 1_000


@dataclass(frozen=True)
class DraftProblem:
    """What is wrong with a draft, at which line and key."""

    line: int
    key: str
    message: str


@dataclass(frozen=True)
class DraftOutcome:
    """What came of a draft: its problems, or the backtest, or why there is none."""

    problems: tuple[DraftProblem, ...] = ()
    result: BacktestResult | None = None
    refusal: str = ""


class BlankEnvironment(Mapping[str, str]):
    """An environment in which every variable is set to nothing: a draft shows no value of this server's own."""

    def __getitem__(self, name: str) -> str:
        return ""

    def get(self, key: str, default: Any = None) -> str:  # noqa: ANN401, ARG002
        return ""

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class DraftBacktester:
    """Backtests one draft at a time for a server."""

    def __init__(self, limits: DraftLimits = DraftLimits(), command: Sequence[str] = COMMAND) -> None:
        self._limits, self._command, self._turn = limits, command, threading.Lock()

    def run(self, context: AppContext, draft: str, period: timedelta) -> DraftOutcome:
        """Check and replay a draft over the last so long; raises BusyError while another one is replayed."""
        if not self._turn.acquire(blocking=False):
            raise BusyError("another draft is replayed now; try again when it is done")
        try:
            return self._run(context, draft, period)
        finally:
            self._turn.release()

    def _run(self, context: AppContext, draft: str, period: timedelta) -> DraftOutcome:
        order = {
            "settings": context.settings.model_dump(mode="json"),
            "limits": asdict(self._limits),
            "now": context.clock().isoformat(),
            "seconds": period.total_seconds(),
            "draft": draft,
        }
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(  # noqa: S603 - this interpreter, a module of this product
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_end_with_server,
            ) as process,
        ):
            try:
                said, _ = process.communicate(json.dumps(order).encode(), timeout=self._limits.seconds)
            except subprocess.TimeoutExpired:
                return DraftOutcome(refusal=f"it took longer than {self._limits.seconds:g} s. {_ADVICE}")
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            try:
                return _outcome(json.loads(said))
            except ValueError:
                return self._unanswered(process.returncode, _end_of(errors))

    def _unanswered(self, code: int | None, errors: str) -> DraftOutcome:
        """Why a process ended without an outcome; what it wrote is for the log, not for whoever sent the draft."""
        log.error("the replay of a draft ended with code %s: %s", code, errors)
        if code in _MEMORY_SIGNALS or any(sign in errors for sign in _MEMORY_ERRORS):
            return DraftOutcome(refusal=f"it may use {self._limits.memory_mb} MiB, and that was not enough. {_ADVICE}")
        return DraftOutcome(
            refusal=f"its process ended with code {code}; the server's log says why, or `platform alerts backtest "
            "--rules FILE` does"
        )


_MEMORY_SIGNALS: Final = (-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT)
_MEMORY_ERRORS: Final = ("MemoryError", "Cannot allocate memory", "bad_alloc", "failed to map segment")
"""How a process says, by Python, the system, C++ and the loader of libraries, that it got no memory."""
_SPARE_BYTES: Final = 16 * 2**20
_ADVICE: Final = (
    "Write a coarser `every` or fewer rules, or run `platform alerts backtest --rules FILE` where it may take longer."
)


def _end_of(errors: IO[bytes]) -> str:
    """The last of what a process wrote."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - MAX_ERROR_BYTES))
    return errors.read().decode(errors="replace").strip()


def _end_with_server() -> None:
    end_with_parent(signal.SIGKILL)


def _outcome(said: Mapping[str, Any]) -> DraftOutcome:
    problems = tuple(DraftProblem(**problem) for problem in said["problems"])
    result = said["result"]
    return DraftOutcome(problems, None if result is None else _result(result), said["refusal"])


def _result(values: Mapping[str, Any]) -> BacktestResult:
    """A result from its JSON."""
    return BacktestResult(
        model=values["model"],
        since=datetime.fromisoformat(values["since"]),
        until=datetime.fromisoformat(values["until"]),
        rules=tuple(RuleSummary(**rule) for rule in values["rules"]),
        alarms=tuple(_alert(alert) for alert in values["alarms"]),
        in_fact=tuple(_alert(alert) for alert in values["in_fact"]),
        notes=tuple(values["notes"]),
    )


def _alert(values: Mapping[str, Any]) -> BacktestAlert:
    times = {
        name: None if values[name] is None else datetime.fromisoformat(values[name])
        for name in ("fired_at", "ended_at", "slot")
    }
    return BacktestAlert(**{**values, **times})


def _carry_out(order: Mapping[str, Any]) -> DraftOutcome:
    import resource

    limits, now = DraftLimits(**order["limits"]), datetime.fromisoformat(order["now"])
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_mb * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(limits.seconds) + 1,) * 2)
    try:
        config = parse_rules(order["draft"], FILE_NAME, BlankEnvironment(), blank_channels=True)
    except RulesError as error:
        return DraftOutcome(tuple(DraftProblem(fault.line, fault.key, fault.message) for fault in error.problems))
    settings = Settings(_env_file=None, **order["settings"])
    shortened = settings.model_copy(update={"long_statement_seconds": limits.seconds})
    try:
        context = create_context(shortened).replace(clock=lambda: now)
        result = run_backtest(context, config, timedelta(seconds=order["seconds"]), max_slots=limits.slots)
        return DraftOutcome(result=_cut(result, limits.alarms))
    except TooManySlotsError as error:
        return DraftOutcome(refusal=f"{error}. {_ADVICE}")
    except (PlatformError, RegistryError) as error:
        if not _is_out_of_memory():
            return DraftOutcome(refusal=str(error))
    except MemoryError:
        pass
    return DraftOutcome(refusal=f"the history needs more than {limits.memory_mb} MiB. {_ADVICE}")


def _is_out_of_memory() -> bool:
    """Whether this process gets no more memory: libraries that got none may have told of another fault."""
    try:
        return not bytearray(_SPARE_BYTES)
    except MemoryError:
        return True


def _cut(result: BacktestResult, most: int) -> BacktestResult:
    """The result with the newest alarms alone; the rules' own counts are of all."""
    alarms, in_fact = (
        tuple(sorted(found, key=lambda alarm: alarm.fired_at)[-most:]) for found in (result.alarms, result.in_fact)
    )
    return replace(result, alarms=alarms, in_fact=in_fact)


def main() -> None:
    """Read an order, and write its outcome as JSON."""
    outcome = _carry_out(json.loads(sys.stdin.buffer.read()))
    sys.stdout.write(json.dumps(to_jsonable(outcome)))


if __name__ == "__main__":
    main()
