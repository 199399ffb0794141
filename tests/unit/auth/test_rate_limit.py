"""Token buckets: the rate holds, bursts are bounded, memory is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from mlplatform.auth.rate_limit import RateLimiter, client_network


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_granted_and_then_the_rate() -> None:
    time = Time()
    throttle = RateLimiter(2.0, 3, time)
    assert [throttle.acquire("ada").allowed for _ in range(4)] == [True, True, True, False]
    refused = throttle.acquire("ada")
    assert (refused.tokens_left, refused.seconds_until_token, refused.retry_after) == (0, 0.5, "1")
    time.now += 0.5
    assert throttle.acquire("ada").allowed
    assert not throttle.acquire("ada").allowed
    assert throttle.acquire("bob").allowed


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 20), st.integers(1, 10))
def test_never_more_than_burst_and_rate_allow(pauses: list[float], rate: float, burst: int) -> None:
    time = Time()
    throttle, granted = RateLimiter(rate, burst, time), 0
    for pause in pauses:
        time.now += pause
        granted += throttle.acquire("ada").allowed
    assert granted <= burst + (time.now - 100.0) * rate + 1e-6


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    time = Time()
    throttle = RateLimiter(1.0, 1, time)
    assert throttle.acquire("ada").allowed
    time.now -= 50
    assert not throttle.acquire("ada").allowed
    time.now += 1
    assert throttle.acquire("ada").allowed


def test_of_too_many_callers_the_one_that_asked_longest_ago_is_forgotten() -> None:
    throttle = RateLimiter(0.001, 1, Time(), max_callers=3)
    for name in ("ada", "bob", "eve", "ada", "joe"):
        throttle.acquire(name)
    assert len(throttle) == 3
    assert not throttle.acquire("ada").allowed
    assert throttle.acquire("bob").allowed


def test_an_address_of_ipv6_counts_by_its_network() -> None:
    assert client_network("10.0.0.7") == "10.0.0.7"
    assert client_network("2001:db8::1") == client_network("2001:db8:0:0:ffff::2")
    assert client_network("2001:db8:1::1") != client_network("2001:db8::1")
    assert client_network("fe80::1%eth0") == client_network("fe80::2")
    assert client_network("no:address") == "no:address"
