"""Forecasts of rules are made behind the pages: asked for at once, made one at a time, and made anew when old."""

import threading

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.web.rule_forecasts import MAX_AGE_SECONDS, Forecasts, RuleForecasts
from tests.support.waiting import eventually


class Loads:
    """Loads that take until they are let go, and count."""

    def __init__(self) -> None:
        self.count, self.go, self.now, self.fails = 0, threading.Event(), 0.0, False

    def __call__(self, _context: AppContext) -> Forecasts:
        self.count += 1
        if not self.go.wait(30):
            raise TimeoutError
        if self.fails:
            raise StoreUnavailableError("the database is away")
        return Forecasts({"rule": f"load {self.count}"}, is_ready=True)


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def forecasts(lite: AppContext, loads: Loads) -> RuleForecasts:
    return RuleForecasts(lite, loads, lambda: loads.now)


def test_a_page_does_not_wait_for_the_first_one(forecasts: RuleForecasts, loads: Loads) -> None:
    assert not forecasts.current().is_ready
    assert not forecasts.current().is_ready
    assert loads.count == 1, "one thread makes them, however many pages ask"
    loads.go.set()
    eventually(lambda: forecasts.current().finds == {"rule": "load 1"})


def test_old_ones_are_shown_while_they_are_made_anew(forecasts: RuleForecasts, loads: Loads) -> None:
    loads.go.set()
    eventually(lambda: forecasts.current().is_ready)
    loads.now = MAX_AGE_SECONDS - 1
    assert forecasts.current().finds == {"rule": "load 1"}
    assert loads.count == 1
    loads.go.clear()
    loads.now += 1
    assert forecasts.current().finds == {"rule": "load 1"}
    loads.go.set()
    eventually(lambda: forecasts.current().finds == {"rule": "load 2"})


def test_a_failure_leaves_what_is_known_and_is_tried_again(forecasts: RuleForecasts, loads: Loads) -> None:
    loads.go.set()
    loads.fails = True
    eventually(lambda: forecasts.current() == Forecasts() and loads.count > 1)
    loads.fails = False
    eventually(lambda: forecasts.current().is_ready)
