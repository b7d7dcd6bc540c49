"""How the line is doing, read off what it stored in the last minutes and what still waits in Kafka. Knows no HTTP.

The workers' own metrics are more exact and go to Prometheus; these figures are for whoever looks at a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from eyestream.brokers.backlog import Backlog
from eyestream.errors import Unavailable
from eyestream.records import Timings
from eyestream.sinks.base import Decided, Results
from eyestream.sinks.feed import Cursor, Feed

STAGES: Final = ("sending", "waiting", "decoding", "encoding", "storing", "total")
"""Captured to Kafka, Kafka to fetched, to decoded, to encoded, to stored; and Kafka to stored."""
WINDOWS_S: Final = (15.0, 60.0, 300.0, 900.0)
"""How far back is looked, longer while too few exams were decided."""
_EXAMS: Final = 40
_FRESH_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds that pictures spent in a stage."""

    name: str
    median: float
    p95: float
    longest: float


@dataclass(frozen=True, slots=True)
class Beat:
    """One look. `pictures` were sampled of those stored in the last `window_s`; `waiting` is None without Kafka."""

    at: float
    window_s: float
    pictures: int
    stages: tuple[Stage, ...]
    waiting: int | None


class LineBacklog:
    """The messages that wait in Kafka, counted in a thread of its own."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="backlog")

    async def count(self) -> int:
        """See `Backlog.count`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._backlog.count)

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._backlog.close)


class Pulse:
    """Looks when asked, at most every five seconds for each programme, however many ask."""

    def __init__(
        self, feed: Feed, results: Results, waiting: Callable[[], Awaitable[int]], *, clock: Callable[[], float]
    ) -> None:
        self._feed, self._results, self._waiting, self._clock = feed, results, waiting, clock
        self._known: dict[str, Beat] = {}
        self._looking = asyncio.Lock()

    async def beat(self, programme: str) -> Beat:
        """How this programme's pictures fared lately. Raises Unavailable without the store of results."""
        async with self._looking:
            known = self._known.get(programme)
            if known is None or abs(self._clock() - known.at) >= _FRESH_S:  # also of a clock that was put back
                at = self._clock()
                self._known = {name: beat for name, beat in self._known.items() if abs(at - beat.at) < _FRESH_S}
                known = self._known[programme] = await self._look(programme)
            return known

    @property
    def known(self) -> int:
        """How many programmes' beats are remembered: any name may be asked for, so only for as long as they serve."""
        return len(self._known)

    async def _look(self, programme: str) -> Beat:
        at = self._clock()
        exams: Sequence[str] = ()
        window = WINDOWS_S[0]
        for window in WINDOWS_S:
            exams = await self._decided(programme, at - window)
            if len(exams) >= _EXAMS:
                break
        found = await asyncio.gather(*(self._results.screenings(exam) for exam in exams))
        timings = [
            one.timings for screenings in found for one in screenings if (one.timings.stored or 0) >= at - window
        ]
        return Beat(at, window, len(timings), tuple(_stages(timings)), await self._count())

    async def _decided(self, programme: str, since: float) -> list[str]:
        place = (max(0, int(since * 1000)), 0)
        cursor = Cursor((place,) * await self._feed.sources())
        events = [one.event for one in await self._feed.after(cursor)]
        exams = [one.exam_id for one in events if isinstance(one, Decided) and one.programme == programme]
        return list(dict.fromkeys(reversed(exams)))[:_EXAMS]

    async def _count(self) -> int | None:
        try:
            return await self._waiting()
        except Unavailable:
            return None


def _stages(timings: Sequence[Timings]) -> Iterator[Stage]:
    spent: Mapping[str, list[float]] = {name: [] for name in STAGES}
    for one in timings:
        moments = (one.captured, one.produced, one.fetched, one.decoded, one.encoded, one.stored)
        for name, begin, end in (*zip(STAGES, moments, moments[1:], strict=False), ("total", one.produced, one.stored)):
            if begin is not None and end is not None:
                spent[name].append(max(0.0, end - begin))
    for name, values in spent.items():
        if values:
            median, p95 = np.percentile(values, [50, 95]).tolist()
            yield Stage(name, median, p95, max(values))
