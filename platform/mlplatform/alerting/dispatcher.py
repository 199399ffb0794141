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
from mlplatform.alerting.channels.apprise_sender import START_SECONDS
from mlplatform.alerting.channels.smtp import RefusedReadersError
from mlplatform.alerting.channels.transport import RefusedMessageError, Transport, transport_of
from mlplatform.audit import audit_entries
from mlplatform.context import Parts
from mlplatform.errors import DeliveryError, FencedError, PlatformError
from mlplatform.network.deadline import DeadlineError, Work
from mlplatform.settings import Settings
from mlplatform.store import leases

log = logging.getLogger(__name__)
AT_ONCE: Final = 20
"""Messages that a lane sends before it ends; the next round begins another."""
MOST_LEFT: Final = 4
"""Deliveries of one channel that may hang where nothing can end them, before no more are begun."""
GRACE_SECONDS: Final = 2.0
"""How long a courier that is to end lets deliveries go on."""
STATES: Final = ("delivered", "waiting", "failed")
Lane = Work[Counter[str]]


@dataclass
class Courier:
    """Sends what is due. Given a lease, it proves it before each message: one courier among many watchers.

    `client` stands for all of HTTP, and `transport` for all ways out.
    """

    parts: Parts
    client: httpx.Client
    transport: Transport | None = None
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _under_way: dict[str, Work[None]] = field(default_factory=dict)
    _left: dict[str, list[Work[None]]] = field(default_factory=dict)
    _held: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    _seen: datetime | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def begin(self, lease: leases.Lease | None = None) -> None:
        """Give every channel that has due messages, and no lane under way, a lane; waits for none of them.

        What ended lanes since the last call is logged.
        """
        for channel, lane in self._ended().items():
            try:
                lane.result(0)
            except FencedError as error:
                log.warning("%s", error)
            except Exception as error:
                known = isinstance(error, PlatformError)
                log.error("notices to %s: %s", channel, error, exc_info=None if known else error)
        self._start(lease)

    def round(self, lease: leases.Lease | None = None) -> dict[str, int]:
        """Try every due message once; returns how many were delivered, put off and given up."""
        self._start(lease)
        tally = Counter[str]()
        for lane in list(self._lanes.values()):
            tally += lane.result(None)
        self._ended()
        return {state: tally[state] for state in STATES}

    def close(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let what is under way end, for so long; then it is cut, and sent again by whoever leads next."""
        self._closing.set()
        end = time.monotonic() + grace_seconds
        while any(lane.runs for lane in self._lanes.values()) and time.monotonic() < end:
            time.sleep(0.02)
        for work in list(self._under_way.values()):
            work.cut()

    def send(self, message: outbox.Message) -> None:
        """Send one message within its whole deadline; raises DeliveryError with the receiver's answer."""
        channel, seconds = message.channel, self.parts.settings.delivery_timeout_seconds
        if message.payload.get("type") == "apprise":
            seconds += START_SECONDS  # its process limits the sending itself
        left = self._left[channel] = [work for work in self._left.get(channel, ()) if work.runs]
        if len(left) >= MOST_LEFT:
            raise DeliveryError(f"{len(left)} earlier deliveries still hang, most likely in the lookup of a name")
        transport = self.transport or Transport(self.parts, self.client)
        work = self._under_way[channel] = Work(partial(transport.send, message), f"notice to {channel}")
        try:
            work.result(seconds, late=True)  # it may have been done but for a goodbye
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
            if work.runs:
                left.append(work)

    def _ended(self) -> dict[str, Lane]:
        ended = {channel: lane for channel, lane in self._lanes.items() if not lane.runs}
        for channel in ended:
            del self._lanes[channel]
        return ended

    def _start(self, lease: leases.Lease | None) -> None:
        now, model = self.parts.clock(), self.parts.rules.model
        self._prove(lease)
        self._mind_the_clock(now)
        with self.parts.database.read() as connection:
            due = outbox.channels_due(connection, now, model)
        for channel in due:
            if channel not in self._lanes and not self._is_held(channel, now):
                self._lanes[channel] = Work(partial(self._lane, channel, lease), f"lane {channel}")

    def _prove(self, lease: leases.Lease | None) -> None:
        if lease is not None:
            with self.parts.database.write() as connection:
                leases.prove(connection, lease)

    def _mind_the_clock(self, now: datetime) -> None:
        """After the clock was set back, next tries are planned anew instead of waiting for the old time to return."""
        before, self._seen = self._seen, now
        if before is None or now >= before:
            return
        with self.parts.database.write() as connection:
            planned = outbox.clock_set_back(connection, self.parts.rules.model, before - now, now)
        log.warning("the clock went back by %s: the next tries of %d notice(s) are planned anew", before - now, planned)

    def _is_held(self, channel: str, now: datetime) -> bool:
        """Whether its receiver asked to be left alone, and the wait is not over; a clock set back ends it."""
        begun, until = self._held.get(channel, (now, now))
        return begun <= now < until

    def _lane(self, channel: str, lease: leases.Lease | None) -> Counter[str]:
        tally = Counter[str]()
        while tally.total() < AT_ONCE and not self._closing.is_set():
            now = self.parts.clock()
            self._prove(lease)
            with self.parts.database.read() as connection:
                due = outbox.due(connection, now, self.parts.rules.model, 1, channel)
            if not due or self._is_held(channel, now):
                break
            tally[self._one(due[0])] += 1
        return tally

    def _one(self, message: outbox.Message) -> str:
        try:
            self.send(message)
        except DeliveryError as error:
            if self._closing.is_set():
                return "waiting"  # as if it had not been tried: whoever leads next does
            log.warning("notice %s to %s: %s", message.idempotency_key, message.channel, error)
            return self._put_off(message, error)
        with self.parts.database.write() as connection:
            outbox.delivered(connection, message.id, self.parts.clock())
        return "delivered"

    def _put_off(self, message: outbox.Message, error: DeliveryError) -> str:
        now, asked = self.parts.clock(), error.wait if isinstance(error, RefusedMessageError) else None
        if isinstance(error, RefusedReadersError):  # the others have it
            message = replace(message, payload={**message.payload, "readers": list(error.readers)})
        if asked is not None:
            self._held[message.channel] = (now, now + min(asked, outbox.LONGEST_ASKED))
        with self.parts.database.write() as connection:
            state = outbox.failed(connection, message, str(error), patience_of(self.parts.settings), now, asked)
            if state == "failed":
                subject = f"notice/{message.idempotency_key}"
                audit_entries.note(connection, "courier", "gave-up", subject, now, {"error": str(error)[:500]})
        return state


def patience_of(settings: Settings) -> outbox.Patience:
    """How long notices are tried."""
    hours = {
        "critical": settings.delivery_hours_critical,
        "warning": settings.delivery_hours_warning,
        "info": settings.delivery_hours_info,
    }
    lives = {severity: timedelta(hours=each) for severity, each in hours.items()}
    return outbox.Patience(settings.delivery_attempts, lives)


def courier(parts: Parts) -> Courier:
    """A courier with the limits of the settings."""
    transport = transport_of(parts)
    return Courier(parts, transport.client, transport)
