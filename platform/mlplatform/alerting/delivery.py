"""Sends one message within one deadline, and counts the deliveries that hang where nothing can end them."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import httpx

from mlplatform.alerting.channels.adapters import startup_seconds
from mlplatform.alerting.channels.http_poster import RefusedMessageError
from mlplatform.alerting.channels.transport import create_transport
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError
from mlplatform.network.deadline import CUT_AGAIN_SECONDS, UNWIND_SECONDS, DeadlineError, DeadlineTask

log = logging.getLogger(__name__)
MAX_HUNG_DELIVERIES: Final = 4
"""Deliveries of one channel that may hang where nothing can end them, before no more are begun."""


@dataclass
class Delivery:
    """Makes single attempts: `attempt` sends a message through its channel and returns when the receiver took it."""

    attempt: Callable[[OutboxMessage], None]
    timeout_seconds: float
    _in_flight: dict[str, DeadlineTask[None]] = field(default_factory=dict)
    _hung: dict[str, list[DeadlineTask[None]]] = field(default_factory=dict)

    def send(self, message: OutboxMessage) -> None:
        """Send one message within its deadline; raises DeliveryError with the receiver's answer."""
        channel, seconds = message.channel, self.timeout_seconds + startup_seconds(message.payload.get("type"))
        hung = self._hung[channel] = [task for task in self._hung.get(channel, ()) if task.is_running]
        if len(hung) >= MAX_HUNG_DELIVERIES:
            raise DeliveryError(f"{len(hung)} earlier deliveries still hang, most likely in the lookup of a name")
        task = self._in_flight[channel] = DeadlineTask(partial(self.attempt, message), f"notice to {channel}")
        try:
            task.result(seconds, accept_late=True)  # it may have been done but for a goodbye
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
            if task.is_running:
                hung.append(task)

    def cancel_all(self) -> None:
        """Cut whatever is being sent now, and again until it ends: who is reading may not notice the first cut."""
        end = time.monotonic() + UNWIND_SECONDS
        while running := [task for task in self._in_flight.values() if task.is_running]:
            for task in running:
                task.cancel()
            if time.monotonic() >= end:
                break
            time.sleep(CUT_AGAIN_SECONDS)


def create_delivery(context: AppContext, client: httpx.Client | None = None) -> Delivery:
    """Deliveries over the channels of alerts.yaml, with the limits of the settings; a given client is all of HTTP."""
    return Delivery(create_transport(context, client).send, context.settings.delivery_timeout_seconds)
