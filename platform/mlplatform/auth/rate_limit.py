"""Token buckets, one per caller, in bounded memory: how often each may ask."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

MAX_CALLERS: Final = 10_000
"""Of more callers than this, those that asked least recently are forgotten, and begin with a full bucket again."""


@dataclass(frozen=True)
class RateDecision:
    """Whether there was a token, how many are left, and the seconds until the next one."""

    allowed: bool
    tokens_left: int
    seconds_until_token: float

    @property
    def retry_after(self) -> str:
        """Whole seconds to wait, as Retry-After has it."""
        return str(max(1, math.ceil(self.seconds_until_token)))


class RateLimiter:
    """So many requests a second per caller, in bursts of so many. For one event loop: it has no lock."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float], max_callers: int = MAX_CALLERS) -> None:
        self.rate, self.burst, self._clock, self._max_callers = rate, burst, clock, max_callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def acquire(self, caller: str) -> RateDecision:
        """Take a token of the caller's, if there is one."""
        now = self._clock()
        tokens, at = self._buckets.pop(caller, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + max(0.0, now - at) * self.rate)
        granted = tokens >= 1
        tokens -= granted
        self._buckets[caller] = (tokens, now)
        if len(self._buckets) > self._max_callers:
            self._buckets.popitem(last=False)
        return RateDecision(granted, int(tokens), max(0.0, (1 - tokens) / self.rate))

    @property
    def policy_header(self) -> str:
        """The limit in the words of the RateLimit-Policy header."""
        return f'"default";q={self.burst};w={max(1, math.ceil(self.burst / self.rate))}'

    def __len__(self) -> int:
        return len(self._buckets)


def client_network(address: str) -> str:
    """The part of an address that one client has to itself: all of IPv4's, the first 64 bits of IPv6's."""
    if ":" not in address:
        return address
    try:
        whole = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return whole.exploded[:19] if whole.version == 6 else address
