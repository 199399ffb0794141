"""An APScheduler executor for jobs that run user code: one after the other, on a thread that may hang.

Its thread is a daemon: a function that never returns keeps the jobs behind it waiting, and nothing else, not even the
end of the process.
"""

import threading
from collections.abc import Sequence
from datetime import datetime
from queue import SimpleQueue

from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.job import Job

QueuedJob = tuple[Job, Sequence[datetime]]


class IsolatedExecutor(BaseExecutor):  # type: ignore[misc]
    """Jobs on one thread of their own, which begins with the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: SimpleQueue[QueuedJob | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)

    def start(self, scheduler: object, alias: str) -> None:
        """Called by the scheduler."""
        super().start(scheduler, alias)
        self._thread.start()

    def shutdown(self, wait: bool = True) -> None:  # noqa: ARG002 - the scheduler passes it
        """Take no further job; the one that runs is not waited for."""
        self._queue.put(None)

    def _do_submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        self._queue.put((job, run_times))

    def _run(self) -> None:
        while (queued := self._queue.get()) is not None:
            job, run_times = queued
            self._run_job_success(job.id, run_job(job, job._jobstore_alias, run_times, self._logger.name))
