"""Groups what comes one by one into batches: full, or old enough. Knows nothing of pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Time that a test can step; see `eyestream.testing.clock`."""

    def time(self) -> float:
        """Seconds that only ever grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns once that much time has passed."""
        ...


class MonotonicClock:
    """The machine's own clock."""

    def time(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds of the event loop."""
        await asyncio.sleep(seconds)


_END: Final = object()


async def batches(
    source: AsyncIterator[T], *, max_size: int, max_wait_s: float, clock: Clock | None = None
) -> AsyncIterator[list[T]]:
    """Lists of 1 to `max_size` items, in the source's order; none waits longer than `max_wait_s` for its fellows.

    The wait is counted from the batch's first item. Pull-based: while the caller holds a batch, one item at the most is
    asked for beyond it. When the source ends, what is left comes as a last batch; when it raises, that comes first and
    the error after it. Closing the iterator cancels the source's pending step.
    """
    clock = clock or MonotonicClock()
    batch: list[T] = []
    deadline = 0.0
    # One pending step outlives every timeout: wait_for(anext(...)) would cancel, and so end, the source.
    step = _step(source)
    try:
        while True:
            if batch and not step.done():
                await _either(step, clock, deadline - clock.time())
            if batch and not step.done():
                yield batch
                batch = []
                continue
            try:
                item = await step
            except Exception:  # raised again: what came before it goes first
                if batch:
                    yield batch
                raise
            if item is _END:
                break
            if not batch:
                deadline = clock.time() + max_wait_s
            batch.append(item)  # type: ignore[arg-type]  # _END was sorted out above
            step = _step(source)
            if len(batch) == max_size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)


def _step(source: AsyncIterator[T]) -> asyncio.Task[T | object]:
    async def step() -> T | object:
        return await anext(source, _END)

    return asyncio.create_task(step())


async def _either(step: asyncio.Task[T | object], clock: Clock, seconds: float) -> None:
    """Returns when the step is done or the time is up, leaving the step as it is."""
    if seconds <= 0:
        # Let a step that needs no waiting finish: an item already there joins the batch however late it is.
        await asyncio.sleep(0)
        return
    timer = asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait([step, timer], return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
