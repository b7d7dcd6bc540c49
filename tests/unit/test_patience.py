from __future__ import annotations

import asyncio

import pytest

from eyestream.errors import Unavailable
from eyestream.patience import FIRST_WAIT_S, LONGEST_WAIT_S, Patience
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


async def test_of_two_that_wait_the_one_that_goes_on_leaves_the_other_waiting():
    clock, metrics = SteppingClock(), Metrics()
    patience = Patience(metrics, clock=clock)
    short, long = (asyncio.create_task(patience.until(Flaky(failures))) for failures in (1, 40))
    await settle()
    assert patience.waiting == {"triton": 2}
    await clock.advance(LONGEST_WAIT_S)
    assert await short == "answer"
    assert patience.waiting == {"triton": 1}
    assert metrics.registry.get_sample_value("eyestream_paused", {"part": "triton"}) == 1
    while not long.done():
        await clock.advance(LONGEST_WAIT_S)
    assert patience.waiting == {}


async def test_whoever_waits_for_one_part_after_another_waits_for_one_at_a_time(caplog):
    caplog.set_level("INFO", logger="eyestream.patience")
    clock, metrics = SteppingClock(), Metrics()
    patience = Patience(metrics, clock=clock)
    answers = [Unavailable("triton", "gone"), Unavailable("triton", "gone"), Unavailable("redis", "gone"), "answer"]

    async def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = asyncio.create_task(patience.until(attempt))
    seen = []
    while not task.done():
        await settle()
        seen += [dict(patience.waiting)]
        await clock.advance(LONGEST_WAIT_S)
    assert seen == [{"triton": 1}, {"triton": 1}, {"redis": 1}]
    paused = {
        sample.labels["part"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "eyestream_paused"
    }
    assert paused == {"triton": 0, "redis": 0}
    assert [(record.levelname, record.part) for record in caplog.records] == [("WARNING", "triton"), ("INFO", "redis")]


async def test_the_first_waits_are_short_and_none_is_longer_than_promised():
    waits = []

    class Clock(SteppingClock):
        """Keeps how long it was asked to sleep, and does not."""

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    await Patience(Metrics(), clock=Clock()).until(Flaky(30))
    assert len(waits) == 30
    for number, wait in enumerate(waits):
        assert 0 <= wait <= min(FIRST_WAIT_S * 2**number, LONGEST_WAIT_S)
    assert max(waits) > LONGEST_WAIT_S / 4
    assert len(set(waits)) > 20


async def test_a_fault_of_ours_amid_the_waiting_is_not_waited_out():
    clock = SteppingClock()
    patience = Patience(Metrics(), clock=clock)
    answers = [Unavailable("triton", "gone"), ValueError("a bug")]

    async def attempt() -> None:
        raise answers.pop(0)

    task = asyncio.create_task(patience.until(attempt))
    await settle()
    await clock.advance(LONGEST_WAIT_S)
    with pytest.raises(ValueError, match="a bug"):
        await task
    assert not patience.waiting


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
