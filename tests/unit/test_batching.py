from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream.batching import MonotonicClock, batches
from eyestream.testing.clock import SteppingClock, settle


class Tap:
    """A source that a test feeds: put items, then `end` or `fail`."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[object] = asyncio.Queue()
        self.asked = 0

    def put(self, *items: int) -> None:
        for item in items:
            self._queue.put_nowait(item)

    def end(self) -> None:
        self._queue.put_nowait(StopAsyncIteration)

    def fail(self) -> None:
        self._queue.put_nowait(RuntimeError("the source broke"))

    async def items(self) -> AsyncIterator[int]:
        while True:
            self.asked += 1
            item = await self._queue.get()
            if item is StopAsyncIteration:
                return
            if isinstance(item, Exception):
                raise item
            assert isinstance(item, int)
            yield item


class Collector:
    """Runs `batches` in a task and keeps what comes."""

    def __init__(self, tap: Tap, clock: SteppingClock, *, max_size: int = 3, max_wait_s: float = 1.0) -> None:
        self.got: list[list[int]] = []
        source = batches(tap.items(), max_size=max_size, max_wait_s=max_wait_s, clock=clock)
        self.task = asyncio.create_task(self._run(source))

    async def _run(self, source: AsyncIterator[list[int]]) -> None:
        async for batch in source:
            self.got.append(batch)


async def test_a_full_batch_does_not_wait():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    tap.put(1, 2, 3)
    await settle()
    assert collector.got == [[1, 2, 3]]
    collector.task.cancel()


async def test_an_old_batch_goes_part_full_and_the_source_lives_on():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    tap.put(1)
    await clock.advance(0.9)
    assert collector.got == []
    await clock.advance(0.2)
    assert collector.got == [[1]]
    tap.put(2, 3, 4)
    await settle()
    assert collector.got == [[1], [2, 3, 4]]
    collector.task.cancel()


async def test_the_wait_is_counted_from_the_first_item():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    tap.put(1)
    await clock.advance(0.6)
    tap.put(2)
    await clock.advance(0.5)
    assert collector.got == [[1, 2]]
    collector.task.cancel()


async def test_what_is_there_already_joins_the_batch_however_late_it_is():
    async def ready() -> AsyncIterator[int]:
        for item in range(4):
            yield item

    got = [batch async for batch in batches(ready(), max_size=3, max_wait_s=0, clock=SteppingClock())]
    assert got == [[0, 1, 2], [3]]


async def test_a_batch_that_filled_leaves_no_timer_behind():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    for _ in range(5):
        tap.put(1)
        await settle()
        tap.put(2, 3)
        await settle()
    assert len(collector.got) == 5
    assert len(asyncio.all_tasks()) == 3  # this test, the collector, and the step that waits for more
    collector.task.cancel()


async def test_what_is_left_comes_when_the_source_ends():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    tap.put(1, 2)
    tap.end()
    await collector.task
    assert collector.got == [[1, 2]]


async def test_an_error_of_the_source_comes_after_what_came_before_it():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    tap.put(1)
    tap.fail()
    with pytest.raises(RuntimeError, match="the source broke"):
        await collector.task
    assert collector.got == [[1]]


async def test_an_error_of_the_source_that_nothing_came_before_comes_alone():
    tap, clock = Tap(), SteppingClock()
    collector = Collector(tap, clock)
    tap.fail()
    with pytest.raises(RuntimeError, match="the source broke"):
        await collector.task
    assert collector.got == []


async def test_closing_cancels_what_the_source_is_waiting_for():
    ended = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    held = batches(source(), max_size=1, max_wait_s=1.0, clock=SteppingClock())
    assert await anext(held) == [1]
    await settle()
    assert ended == []
    await held.aclose()
    assert ended == ["ended"]


async def test_the_machines_clock_waits_as_long_as_it_was_asked_to():
    clock = MonotonicClock()
    began = clock.time()
    await clock.sleep(0.02)
    assert 0.02 <= clock.time() - began < 10


async def test_no_more_than_one_item_is_asked_for_while_a_batch_is_held():
    tap, clock = Tap(), SteppingClock()
    held = batches(tap.items(), max_size=2, max_wait_s=1.0, clock=clock)
    tap.put(*range(10))
    assert await anext(held) == [0, 1]
    await settle()
    assert tap.asked == 3  # 0, 1 and one beyond
    await held.aclose()


@given(st.lists(st.one_of(st.integers(0, 99), st.just("wait"))), st.integers(1, 5))
def test_every_item_comes_once_in_order_in_batches_within_bounds(script, max_size):
    async def run() -> None:
        tap, clock = Tap(), SteppingClock()
        collector = Collector(tap, clock, max_size=max_size)
        for step in script:
            if step == "wait":
                await clock.advance(1.5)
            else:
                tap.put(step)
        tap.end()
        await collector.task
        assert [item for batch in collector.got for item in batch] == [step for step in script if step != "wait"]
        assert all(1 <= len(batch) <= max_size for batch in collector.got)

    asyncio.run(run())
