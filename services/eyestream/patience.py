"""Waits for a part of the world that is away: tries again for as long as it takes. Knows no part by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from eyestream.batching import Clock, MonotonicClock
from eyestream.errors import Unavailable
from eyestream.telemetry import Metrics, Verb

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0
"""A part that comes back is noticed within this long; the drills hold the line to it."""


class Patience:
    """Repeats what raised Unavailable, without end, with full jitter.

    The first wait is at most FIRST_WAIT_S, each next may be twice as long as the one before, none above LONGEST_WAIT_S.
    The line loses nothing by waiting: what it holds is not acknowledged, and the window keeps it from taking more.
    Any other exception passes through at once. `waiting` counts the callers that wait for each part right now.
    """

    def __init__(self, metrics: Metrics, *, clock: Clock | None = None) -> None:
        self._metrics = metrics
        self._sleep = (clock or MonotonicClock()).sleep
        self.waiting: Counter[str] = Counter()

    async def until(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns once it does not raise Unavailable. Cancelling it stops the waiting."""
        try:
            return await attempt()  # what is there costs nothing more
        except Unavailable as error:
            return await self._until(attempt, error)

    async def _until(self, attempt: Callable[[], Awaitable[T]], failed: Unavailable) -> T:
        """The same, after a first attempt that `failed`."""
        first: Unavailable | None = failed
        part: str | None = None

        def before_sleep(state: RetryCallState) -> None:
            nonlocal part
            error = state.outcome.exception() if state.outcome else None
            assert isinstance(error, Unavailable)
            self._settle(part)
            part = error.part
            self.waiting[part] += 1
            self._metrics.paused.labels(part).set(1)
            self._metrics.retries.labels(part).inc()
            if state.attempt_number == 1:
                log.warning("%s", error, extra={"action": Verb.RETRIED, "part": part})

        async def once() -> T:  # tenacity awaits only what it sees to be a coroutine function
            nonlocal first
            if (error := first) is not None:
                first = None
                raise error
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            sleep=self._sleep,
            before_sleep=before_sleep,
        )
        try:
            result: T = await retrying(once)
        finally:
            self._settle(part)
        log.info("%s is back", part, extra={"action": Verb.RECOVERED, "part": part})
        return result

    def _settle(self, part: str | None) -> None:
        if part is None:
            return
        self.waiting[part] -= 1
        if self.waiting[part] <= 0:
            del self.waiting[part]
            self._metrics.paused.labels(part).set(0)
