"""Writes the reports of evaluations off the alert's path, one at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.monitoring.evaluate import is_worse
from mlplatform.watcher.failure_log import log_failures
from monitors.rules.alerts_config import Rule


def _report_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="measure")


@dataclass
class ReportQueue:
    """Evaluations whose report is to be written by `write`; of those that pile up, a rule's newest or gravest."""

    write: Callable[[Rule, Evaluation], object]
    _pending: dict[str, tuple[Rule, Evaluation]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=_report_pool)

    def put(self, rule: Rule, evaluation: Evaluation) -> None:
        """Have the evaluation's report written; it is not waited for."""
        pending = self._pending.get(rule.name)
        if pending is None or not is_worse(pending[1].state, evaluation.state):
            self._pending[rule.name] = (rule, evaluation)
        if pending is None:
            self._pool.submit(log_failures(self._write_pending, "write_report"), rule.name)

    def close(self) -> None:
        """Write no more reports; the one that is being written is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _write_pending(self, rule_name: str) -> None:
        self.write(*self._pending.pop(rule_name))
