"""Jobs aside: one after the other, and one that hangs holds up neither other jobs nor the end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from mlplatform.watcher.isolated_executor import IsolatedExecutor


@contextmanager
def scheduler() -> Iterator[BackgroundScheduler]:
    made = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(1), "aside": IsolatedExecutor()}, timezone="UTC"
    )
    made.start()
    yield made
    while made.get_jobs():  # a job that runs once is taken off the list after it was begun
        time.sleep(0.001)
    made.shutdown(wait=True)  # ends: a job aside that hangs would let the test run into its time limit


def test_jobs_aside_run_one_after_the_other_and_on_another_thread() -> None:
    threads: list[str] = []
    done = threading.Event()

    def job(last: bool) -> None:
        threads.append(threading.current_thread().name)
        if last:
            done.set()

    with scheduler() as made:
        made.add_job(job, args=(False,), executor="aside")
        made.add_job(job, args=(True,), executor="aside")
        assert done.wait(10)
    assert threads == ["aside", "aside"]


def test_a_job_that_hangs_holds_up_neither_the_others_nor_the_end() -> None:
    entered, other, never = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        never.wait(60)

    with scheduler() as made:
        made.add_job(hang, executor="aside")
        assert entered.wait(10)
        made.add_job(other.set)
        assert other.wait(10)
    never.set()


def test_a_job_that_fails_leaves_the_thread_to_the_next() -> None:
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError

    with scheduler() as made:
        made.add_job(fail, executor="aside")
        made.add_job(done.set, executor="aside")
        assert done.wait(10)
