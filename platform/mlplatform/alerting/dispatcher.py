"""Sends the outbox's due notices: at least once, retried with backoff, and no channel waits for another.

Each channel with due messages has a worker of its own, a thread that sends one message after the other, critical ones
first. An attempt that fails is retried later (`_schedule_retry`): `retry_policy.py` says when, and when to give up.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from mlplatform.alerting import outbox
from mlplatform.alerting.channels.http_poster import RefusedMessageError
from mlplatform.alerting.channels.smtp import RefusedRecipientsError
from mlplatform.alerting.delivery import Delivery, create_delivery
from mlplatform.alerting.retry_policy import MAX_RETRY_AFTER, RetryPolicy, retry_policy
from mlplatform.audit import audit_entries
from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError, FencedError, PlatformError
from mlplatform.network.deadline import DeadlineTask
from mlplatform.store import leases
from mlplatform.store.database import Database

log = logging.getLogger(__name__)
MESSAGES_PER_WORKER: Final = 20
"""Messages that a worker sends before it ends; the next round starts another."""
GRACE_SECONDS: Final = 2.0
"""How long a dispatcher that is to end lets deliveries go on."""
DELIVERY_STATES: Final = ("delivered", "waiting", "failed")
Worker = DeadlineTask[Counter[str]]


@dataclass
class OutboxDispatcher:
    """Sends what is due about one model. Given a lease, it proves it before each message: one among many watchers."""

    open_database: Callable[[], Database]
    """The store, which may be unavailable when the dispatcher is built."""
    clock: Clock
    model_name: str
    delivery: Delivery
    retry_policy: RetryPolicy
    _workers: dict[str, Worker] = field(default_factory=dict)
    _pauses: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _last_time: datetime | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def start_workers(self, lease: leases.Lease | None = None) -> None:
        """Start a worker for every channel that has due messages and none at work; waits for none of them.

        What ended workers since the last call is logged.
        """
        for channel, worker in self._pop_finished_workers().items():
            try:
                worker.result(0)
            except FencedError as error:
                log.warning("%s", error)
            except Exception as error:
                expected = isinstance(error, PlatformError)
                log.error("notices to %s: %s", channel, error, exc_info=None if expected else error)
        self._start_due_workers(lease)

    def dispatch_due(self, lease: leases.Lease | None = None) -> dict[str, int]:
        """Try every due message once; returns how many were delivered, put off and given up."""
        self._start_due_workers(lease)
        tally = Counter[str]()
        for worker in list(self._workers.values()):
            tally += worker.result(None)
        self._pop_finished_workers()
        return {state: tally[state] for state in DELIVERY_STATES}

    def close(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let what is under way end, for so long; then it is cut, and sent again by whoever leads next."""
        self._closing.set()
        end = time.monotonic() + grace_seconds
        while any(worker.is_running for worker in self._workers.values()) and time.monotonic() < end:
            time.sleep(0.02)
        self.delivery.cancel_all()

    def _pop_finished_workers(self) -> dict[str, Worker]:
        finished = {channel: worker for channel, worker in self._workers.items() if not worker.is_running}
        for channel in finished:
            del self._workers[channel]
        return finished

    def _start_due_workers(self, lease: leases.Lease | None) -> None:
        now = self.clock()
        self._verify_lease(lease)
        self._reschedule_after_clock_set_back(now)
        with self.open_database().read() as connection:
            due = outbox.channels_due(connection, now, self.model_name)
        for channel in due:
            if channel not in self._workers and not self._is_paused(channel, now):
                self._workers[channel] = DeadlineTask(partial(self._run_worker, channel, lease), f"worker {channel}")

    def _verify_lease(self, lease: leases.Lease | None) -> None:
        if lease is not None:
            with self.open_database().write() as connection:
                leases.require_lease(connection, lease)

    def _reschedule_after_clock_set_back(self, now: datetime) -> None:
        """After the clock was set back, retries are scheduled anew instead of waiting for the old time to return."""
        before, self._last_time = self._last_time, now
        if before is None or now >= before:
            return
        with self.open_database().write() as connection:
            count = outbox.reschedule_after_clock_step(connection, self.model_name, before - now, now)
        log.warning("the clock went back by %s: the next tries of %d notice(s) are planned anew", before - now, count)

    def _is_paused(self, channel: str, now: datetime) -> bool:
        """Whether its receiver asked to be left alone (Retry-After) until later; a clock set back ends the pause."""
        start, until = self._pauses.get(channel, (now, now))
        return start <= now < until

    def _run_worker(self, channel: str, lease: leases.Lease | None) -> Counter[str]:
        tally = Counter[str]()
        while tally.total() < MESSAGES_PER_WORKER and not self._closing.is_set():
            now = self.clock()
            self._verify_lease(lease)
            with self.open_database().read() as connection:
                due = outbox.due_messages(connection, now, self.model_name, 1, channel)
            if not due or self._is_paused(channel, now):
                break
            tally[self._attempt_delivery(due[0])] += 1
        return tally

    def _attempt_delivery(self, message: outbox.OutboxMessage) -> str:
        """Send a message and write what became of it; returns its new state."""
        try:
            self.delivery.send(message)
        except DeliveryError as error:
            if self._closing.is_set():
                return "waiting"  # as if it had not been tried: whoever leads next does
            log.warning("notice %s to %s: %s", message.idempotency_key, message.channel, error)
            return self._schedule_retry(message, error)
        with self.open_database().write() as connection:
            outbox.mark_delivered(connection, message.id, self.clock())
        return "delivered"

    def _schedule_retry(self, message: outbox.OutboxMessage, error: DeliveryError) -> str:
        """Plan the next attempt of a message that was not delivered, or give it up; returns its new state."""
        now, retry_after = self.clock(), error.retry_after if isinstance(error, RefusedMessageError) else None
        if isinstance(error, RefusedRecipientsError):  # the others have it
            message = replace(message, payload={**message.payload, "readers": list(error.recipients)})
        if retry_after is not None:
            self._pauses[message.channel] = (now, now + min(retry_after, MAX_RETRY_AFTER))
        with self.open_database().write() as connection:
            state = outbox.schedule_retry(connection, message, str(error), self.retry_policy, now, retry_after)
            if state == "failed":
                subject = f"notice/{message.idempotency_key}"
                audit_entries.append(connection, "courier", "gave-up", subject, now, {"error": str(error)[:500]})
        return state


def create_dispatcher(context: AppContext, delivery: Delivery | None = None) -> OutboxDispatcher:
    """The dispatcher of this process's model, with the limits of the settings."""
    return OutboxDispatcher(
        open_database=lambda: context.database,
        clock=context.clock,
        model_name=context.rules.model,
        delivery=delivery or create_delivery(context),
        retry_policy=retry_policy(context.settings),
    )
