from __future__ import annotations

import asyncio

import pytest

from eyestream.errors import Unavailable
from eyestream.patience import LONGEST_WAIT_S, Patience
from eyestream.telemetry import Metrics
from eyestream.testing.clock import SteppingClock, settle


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.left, self.calls = failures, 0
        self._error = error or Unavailable("triton", "gone for now")

    async def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self._error
        return "answer"


async def test_what_is_away_is_tried_until_it_answers():
    clock, metrics = SteppingClock(), Metrics()
    patience, flaky = Patience(metrics, clock=clock), Flaky(20)
    task = asyncio.create_task(patience.until(flaky))
    for _ in range(20):
        await clock.advance(LONGEST_WAIT_S)
    assert await task == "answer"
    assert flaky.calls == 21
    assert metrics.registry.get_sample_value("eyestream_retries_total", {"part": "triton"}) == 20


async def test_a_waiting_line_says_for_whom_it_waits():
    clock, metrics = SteppingClock(), Metrics()
    patience = Patience(metrics, clock=clock)
    first = asyncio.create_task(patience.until(Flaky(1)))
    second = asyncio.create_task(patience.until(Flaky(1)))
    await settle()
    assert patience.waiting == {"triton": 2}
    assert metrics.registry.get_sample_value("eyestream_paused", {"part": "triton"}) == 1
    await clock.advance(LONGEST_WAIT_S)
    await asyncio.gather(first, second)
    assert not patience.waiting
    assert metrics.registry.get_sample_value("eyestream_paused", {"part": "triton"}) == 0


async def test_a_fault_of_ours_is_not_waited_out():
    flaky = Flaky(1, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        await Patience(Metrics(), clock=SteppingClock()).until(flaky)
    assert flaky.calls == 1


async def test_giving_up_from_outside_leaves_nothing_waiting():
    clock = SteppingClock()
    patience = Patience(Metrics(), clock=clock)
    task = asyncio.create_task(patience.until(Flaky(10)))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not patience.waiting
