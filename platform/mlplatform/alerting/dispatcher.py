"""Deliveries from the outbox: at least once, each try the same, and no channel waits for another.

Each channel with due messages has a lane of its own, a thread that sends one message after the other, critical ones
first. Each message has a whole deadline. It composes nothing, and knows no channel's protocol.
"""

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import httpx

from mlplatform.alerting import outbox
from mlplatform.alerting.channels.apprise_sender import STARTUP_SECONDS
from mlplatform.alerting.channels.smtp import RefusedRecipientsError
from mlplatform.alerting.channels.transport import RefusedMessageError, Transport, create_transport
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError, FencedError, PlatformError
from mlplatform.network.deadline import DeadlineError, DeadlineTask
from mlplatform.settings import Settings
from mlplatform.store import leases

log = logging.getLogger(__name__)
MESSAGES_PER_WORKER: Final = 20
"""Messages that a lane sends before it ends; the next round begins another."""
MAX_HUNG_DELIVERIES: Final = 4
"""Deliveries of one channel that may hang where nothing can end them, before no more are begun."""
GRACE_SECONDS: Final = 2.0
"""How long a courier that is to end lets deliveries go on."""
DELIVERY_STATES: Final = ("delivered", "waiting", "failed")
Worker = DeadlineTask[Counter[str]]


@dataclass
class OutboxDispatcher:
    """Sends what is due. Given a lease, it proves it before each message: one courier among many watchers.

    `client` stands for all of HTTP, and `transport` for all ways out.
    """

    context: AppContext
    client: httpx.Client
    transport: Transport | None = None
    _workers: dict[str, Worker] = field(default_factory=dict)
    _in_flight: dict[str, DeadlineTask[None]] = field(default_factory=dict)
    _hung: dict[str, list[DeadlineTask[None]]] = field(default_factory=dict)
    _pauses: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _last_time: datetime | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def start_workers(self, lease: leases.Lease | None = None) -> None:
        """Give every channel that has due messages, and no lane under way, a lane; waits for none of them.

        What ended lanes since the last call is logged.
        """
        for channel, lane in self._pop_finished_workers().items():
            try:
                lane.result(0)
            except FencedError as error:
                log.warning("%s", error)
            except Exception as error:
                known = isinstance(error, PlatformError)
                log.error("notices to %s: %s", channel, error, exc_info=None if known else error)
        self._start_due_workers(lease)

    def dispatch_due(self, lease: leases.Lease | None = None) -> dict[str, int]:
        """Try every due message once; returns how many were delivered, put off and given up."""
        self._start_due_workers(lease)
        tally = Counter[str]()
        for lane in list(self._workers.values()):
            tally += lane.result(None)
        self._pop_finished_workers()
        return {state: tally[state] for state in DELIVERY_STATES}

    def close(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let what is under way end, for so long; then it is cut, and sent again by whoever leads next."""
        self._closing.set()
        end = time.monotonic() + grace_seconds
        while any(lane.is_running for lane in self._workers.values()) and time.monotonic() < end:
            time.sleep(0.02)
        for work in list(self._in_flight.values()):
            work.cancel()

    def send(self, message: outbox.OutboxMessage) -> None:
        """Send one message within its whole deadline; raises DeliveryError with the receiver's answer."""
        channel, seconds = message.channel, self.context.settings.delivery_timeout_seconds
        if message.payload.get("type") == "apprise":
            seconds += STARTUP_SECONDS  # its process limits the sending itself
        left = self._hung[channel] = [work for work in self._hung.get(channel, ()) if work.is_running]
        if len(left) >= MAX_HUNG_DELIVERIES:
            raise DeliveryError(f"{len(left)} earlier deliveries still hang, most likely in the lookup of a name")
        transport = self.transport or Transport(self.context, self.client)
        work = self._in_flight[channel] = DeadlineTask(partial(transport.send, message), f"notice to {channel}")
        try:
            work.result(seconds, accept_late=True)  # it may have been done but for a goodbye
        except DeadlineError as error:
            if isinstance(error.__cause__, RefusedMessageError):  # it had answered before its time was over
                raise error.__cause__ from error
            raise DeliveryError(f"no answer within {seconds:g} s") from error
        except DeliveryError:
            raise
        except Exception as error:
            log.exception("notice %s to %s cannot be sent", message.idempotency_key, channel)
            raise DeliveryError(f"it cannot be sent: {type(error).__name__}") from error
        finally:
            if work.is_running:
                left.append(work)

    def _pop_finished_workers(self) -> dict[str, Worker]:
        ended = {channel: lane for channel, lane in self._workers.items() if not lane.is_running}
        for channel in ended:
            del self._workers[channel]
        return ended

    def _start_due_workers(self, lease: leases.Lease | None) -> None:
        now, model = self.context.clock(), self.context.rules.model
        self._verify_lease(lease)
        self._handle_clock_set_back(now)
        with self.context.database.read() as connection:
            due = outbox.channels_due(connection, now, model)
        for channel in due:
            if channel not in self._workers and not self._is_paused(channel, now):
                self._workers[channel] = DeadlineTask(partial(self._run_worker, channel, lease), f"lane {channel}")

    def _verify_lease(self, lease: leases.Lease | None) -> None:
        if lease is not None:
            with self.context.database.write() as connection:
                leases.require_lease(connection, lease)

    def _handle_clock_set_back(self, now: datetime) -> None:
        """After the clock was set back, next tries are planned anew instead of waiting for the old time to return."""
        before, self._last_time = self._last_time, now
        if before is None or now >= before:
            return
        with self.context.database.write() as connection:
            planned = outbox.reschedule_after_clock_step(connection, self.context.rules.model, before - now, now)
        log.warning("the clock went back by %s: the next tries of %d notice(s) are planned anew", before - now, planned)

    def _is_paused(self, channel: str, now: datetime) -> bool:
        """Whether its receiver asked to be left alone, and the wait is not over; a clock set back ends it."""
        begun, until = self._pauses.get(channel, (now, now))
        return begun <= now < until

    def _run_worker(self, channel: str, lease: leases.Lease | None) -> Counter[str]:
        tally = Counter[str]()
        while tally.total() < MESSAGES_PER_WORKER and not self._closing.is_set():
            now = self.context.clock()
            self._verify_lease(lease)
            with self.context.database.read() as connection:
                due = outbox.due_messages(connection, now, self.context.rules.model, 1, channel)
            if not due or self._is_paused(channel, now):
                break
            tally[self._deliver(due[0])] += 1
        return tally

    def _deliver(self, message: outbox.OutboxMessage) -> str:
        try:
            self.send(message)
        except DeliveryError as error:
            if self._closing.is_set():
                return "waiting"  # as if it had not been tried: whoever leads next does
            log.warning("notice %s to %s: %s", message.idempotency_key, message.channel, error)
            return self._reschedule(message, error)
        with self.context.database.write() as connection:
            outbox.mark_delivered(connection, message.id, self.context.clock())
        return "delivered"

    def _reschedule(self, message: outbox.OutboxMessage, error: DeliveryError) -> str:
        now, asked = self.context.clock(), error.retry_after if isinstance(error, RefusedMessageError) else None
        if isinstance(error, RefusedRecipientsError):  # the others have it
            message = replace(message, payload={**message.payload, "readers": list(error.recipients)})
        if asked is not None:
            self._pauses[message.channel] = (now, now + min(asked, outbox.MAX_RETRY_AFTER))
        with self.context.database.write() as connection:
            state = outbox.record_failure(
                connection, message, str(error), retry_policy(self.context.settings), now, asked
            )
            if state == "failed":
                subject = f"notice/{message.idempotency_key}"
                audit_entries.append(connection, "courier", "gave-up", subject, now, {"error": str(error)[:500]})
        return state


def retry_policy(settings: Settings) -> outbox.DeliveryPolicy:
    """How long notices are tried."""
    hours = {
        "critical": settings.delivery_hours_critical,
        "warning": settings.delivery_hours_warning,
        "info": settings.delivery_hours_info,
    }
    lives = {severity: timedelta(hours=each) for severity, each in hours.items()}
    return outbox.DeliveryPolicy(settings.delivery_attempts, lives)


def create_dispatcher(context: AppContext) -> OutboxDispatcher:
    """A courier with the limits of the settings."""
    transport = create_transport(context)
    return OutboxDispatcher(context, transport.client, transport)
