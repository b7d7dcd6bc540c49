from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eyestream.testing.contracts_readings import WallClock
from eyestream.web.limits import Buckets, whole_seconds


@given(st.lists(st.floats(0, 5), max_size=60))
def test_nobody_gets_more_than_the_burst_and_the_rate_since_the_beginning(waits):
    clock = WallClock()
    buckets = Buckets(2.0, 5, clock=clock)
    taken = 0
    for wait in waits:
        clock.step(wait)
        taken += buckets.take("ada") == 0
        assert taken <= 5 + 2.0 * (clock() - WallClock()()) + 1e-3


def test_whoever_waits_as_long_as_told_is_served():
    clock = WallClock()
    buckets = Buckets(0.3, 1, clock=clock)
    assert buckets.take("ada") == 0
    clock.step(buckets.take("ada") + 1e-6)
    assert buckets.take("ada") == 0


def test_a_clock_that_is_put_back_holds_nobody_up():
    clock = WallClock()
    buckets = Buckets(1.0, 2, clock=clock)
    buckets.take("ada")
    clock.step(-3600)
    assert buckets.take("ada") == 0
    assert 0 < buckets.take("ada") <= 1


def test_many_names_take_no_memory_for_long():
    clock = WallClock()
    buckets = Buckets(1.0, 2, clock=clock)
    for number in range(30_000):
        buckets.take(f"caller-{number}")
        clock.step(0.001)
    assert buckets.known < 12_000


def test_seconds_are_rounded_up():
    assert [whole_seconds(seconds) for seconds in (0.01, 1.0, 1.2)] == ["1", "1", "2"]
