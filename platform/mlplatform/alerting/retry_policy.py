"""When a notice that was not delivered is tried again: exponential backoff, the receiver's Retry-After, and the end.

`outbox.schedule_retry` writes what this decides; `dispatcher.py` makes the attempts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mlplatform.settings import Settings

INITIAL_RETRY_DELAY: Final = timedelta(seconds=2)
"""The wait after the first failed attempt; it doubles with each further one."""
MAX_RETRY_DELAY: Final = timedelta(minutes=15)
MAX_RETRY_AFTER: Final = timedelta(hours=1)
"""The longest wait that a receiver may ask for: beyond it, it is asked again."""
MAX_DOUBLINGS: Final = 20  # beyond them the delay is the longest anyway, and further ones would overflow


@dataclass(frozen=True)
class RetryPolicy:
    """How long a notice is tried before it is given up: so many attempts at least, and its severity's time."""

    min_attempts: int
    min_durations: Mapping[str, timedelta]

    def is_exhausted(self, severity: str, attempts: int, age: timedelta) -> bool:
        """Both must be used up: attempts alone pass in minutes, and a clock set forward passes any time at once."""
        min_duration = self.min_durations.get(severity, max(self.min_durations.values()))
        return attempts >= self.min_attempts and age >= min_duration


@dataclass(frozen=True)
class RetryDecision:
    """What follows a failed attempt: the next one at a moment, or none because the notice is given up."""

    gives_up: bool
    attempts: int
    next_attempt_at: datetime


def retry_delay(attempts: int, retry_after: timedelta | None = None) -> timedelta:
    """The wait before the next attempt: exponential backoff, or what the receiver asked for within limits."""
    if retry_after is not None:
        return min(max(retry_after, INITIAL_RETRY_DELAY), MAX_RETRY_AFTER)
    doublings = min(max(attempts - 1, 0), MAX_DOUBLINGS)
    return min(INITIAL_RETRY_DELAY * (1 << doublings), MAX_RETRY_DELAY)


def decide_retry(
    policy: RetryPolicy,
    severity: str,
    attempts_before: int,
    created_at: datetime,
    now: datetime,
    retry_after: timedelta | None = None,
) -> RetryDecision:
    """What follows an attempt that failed now.

    A receiver that asked for a wait gets it, and the attempt is not counted; the notice's time goes on, and is then all
    that ends it.
    """
    attempts = attempts_before + (retry_after is None)
    counted = attempts if retry_after is None else policy.min_attempts
    gives_up = policy.is_exhausted(severity, counted, now - created_at)
    return RetryDecision(gives_up, attempts, now + retry_delay(attempts, retry_after))


def retry_policy(settings: Settings) -> RetryPolicy:
    """The policy of the settings PLATFORM_DELIVERY_ATTEMPTS and PLATFORM_DELIVERY_HOURS_*."""
    hours = {
        "critical": settings.delivery_hours_critical,
        "warning": settings.delivery_hours_warning,
        "info": settings.delivery_hours_info,
    }
    durations = {severity: timedelta(hours=length) for severity, length in hours.items()}
    return RetryPolicy(settings.delivery_attempts, durations)
