"""One follower of the feed for all clients of a process, each of which may resume where it was. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Final

from eyestream.errors import Unavailable
from eyestream.records import utc
from eyestream.sinks.base import Decided, Results
from eyestream.sinks.feed import Cursor, Feed, Happening
from eyestream.sinks.readings import Read
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

Counts = Mapping[str, int]
Item = tuple[str, Decided | Read | Counts | None]
"""The place to resume at (empty: as before), and what happened; None when nothing of the client's did for a while."""

_BATCHES: Final = 64
"""Batches that a slow client may be behind before it is cut off, to resume by itself."""
_RETRY_S: Final = 2.0


class Hub:
    """Follows the feed while anybody does. `follow` may be called by many tasks of one event loop.

    It looks every `poll_s` for events and every `counts_s` at the counters of the programmes that clients asked for.
    """

    def __init__(
        self,
        feed: Feed,
        results: Results,
        *,
        clock: Callable[[], float],
        poll_s: float,
        counts_s: float,
        heartbeat_s: float,
    ) -> None:
        self._feed, self._results, self._clock = feed, results, clock
        self._poll_s, self._counts_s, self._heartbeat_s = poll_s, counts_s, heartbeat_s
        self._clients: dict[asyncio.Queue[Sequence[Happening] | Counts | None], str | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()

    @property
    def clients(self) -> int:
        """How many follow."""
        return len(self._clients)

    async def place(self, text: str | None) -> tuple[Cursor, bool]:
        """Where to begin: at `text`, or now; and whether events in between may be gone.

        Raises ValueError when `text` is no place in the feed, Unavailable when the store is away.
        """
        if text is None:
            return await self._feed.end(), False
        cursor = Cursor.parse(text, sources=await self._feed.sources())
        return cursor, await self._feed.forgotten(cursor)

    async def follow(
        self, cursor: Cursor, *, programme: str | None, among: frozenset[str] | None = None
    ) -> AsyncGenerator[Item, None]:
        """What happened after the place and goes on happening: each event once. Ends when the client is too slow.

        With a programme, only its events, and its counters whenever they change; without, the events of those
        `among`, or all. Whatever happens elsewhere, no `heartbeat_s` goes by without an item. Raises Unavailable while
        catching up.
        """
        wanted = among if programme is None else frozenset({programme})
        queue: asyncio.Queue[Sequence[Happening] | Counts | None] = asyncio.Queue(_BATCHES)
        self._clients[queue] = programme
        try:
            await self._start()
            catching_up, heard = True, time.monotonic()
            while True:
                news: Sequence[Happening] | Counts | None
                if catching_up:
                    news = await self._feed.after(cursor)
                    catching_up = bool(news)
                else:
                    news = await _next(queue, heard + self._heartbeat_s - time.monotonic())
                if news is None:
                    return
                cursor, items = _told(news, cursor, wanted)
                # Not only when nothing comes: what happens to others all the time is no sign of life to this one.
                if not items and time.monotonic() - heard >= self._heartbeat_s:
                    items = [(str(cursor), None)]
                for item in items:
                    yield item
                    heard = time.monotonic()
        finally:
            del self._clients[queue]
            if not self._clients:
                await self.stop()

    async def stop(self) -> None:
        """Follow no more. Idempotent; the next client starts it again."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> None:
        """The pump must know where it begins before a client looks for what came earlier, or events fall in between."""
        async with self._starting:
            if not self._tasks:
                begin = await self._feed.end()
                self._tasks = [asyncio.create_task(self._pump(begin)), asyncio.create_task(self._count())]
                for task in self._tasks:
                    task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What failed must not leave clients who hear nothing but heartbeats: they are cut off, and resume or are told.

        The next client starts it again.
        """
        if task.cancelled() or task not in self._tasks:
            return
        log.error("the feed is not followed", exc_info=task.exception(), extra={"action": Verb.FAILED})
        tasks, self._tasks = self._tasks, []
        for each in tasks:
            each.cancel()
        for queue in self._clients:
            _cut_off(queue)

    async def _pump(self, cursor: Cursor) -> None:
        while True:
            try:
                batch = await self._feed.after(cursor)
            except Unavailable as error:
                log.warning("the feed is away", extra={"action": Verb.RETRIED, "part": error.part})
                await asyncio.sleep(_RETRY_S)
                continue
            for happening in batch:
                cursor = cursor.past(happening)
            if batch:
                for queue in list(self._clients):
                    _offer(queue, batch)
            else:
                await asyncio.sleep(self._poll_s)

    async def _count(self) -> None:
        known: dict[tuple[str, asyncio.Queue[Sequence[Happening] | Counts | None]], Counts] = {}
        while True:
            for programme in {name for name in self._clients.values() if name is not None}:
                try:
                    counts = await self._results.counts(programme, utc(self._clock()).date())
                except Unavailable:
                    continue  # the pump tells of it
                for queue, name in list(self._clients.items()):
                    if name == programme and known.get((programme, queue)) != counts:
                        known[programme, queue] = counts
                        _offer(queue, dict(counts))
            known = {key: counts for key, counts in known.items() if key[1] in self._clients}
            await asyncio.sleep(self._counts_s)


async def _next(
    queue: asyncio.Queue[Sequence[Happening] | Counts | None], within_s: float
) -> Sequence[Happening] | Counts | None:
    """What comes next; nothing when nothing comes in that time."""
    try:
        return await asyncio.wait_for(queue.get(), within_s)
    except TimeoutError:
        return ()


def _told(
    news: Sequence[Happening] | Counts, cursor: Cursor, programmes: frozenset[str] | None
) -> tuple[Cursor, list[Item]]:
    """What of the news a client who is at that place is told, and the place behind all of it."""
    if isinstance(news, Mapping):
        return cursor, [("", news)]
    items: list[Item] = []
    for happening in news:
        if not cursor.covers(happening):
            cursor = cursor.past(happening)
            if _concerns(happening, programmes):
                items.append((str(cursor), happening.event))
    return cursor, items


def _offer(queue: asyncio.Queue[Sequence[Happening] | Counts | None], news: Sequence[Happening] | Counts) -> None:
    """Hand the news on or, when the client is too far behind, its end."""
    if queue.qsize() < _BATCHES - 1:
        queue.put_nowait(news)
    else:
        _cut_off(queue)


def _cut_off(queue: asyncio.Queue[Sequence[Happening] | Counts | None]) -> None:
    if not queue.full():
        queue.put_nowait(None)


def _concerns(happening: Happening, programmes: frozenset[str] | None) -> bool:
    return programmes is None or happening.event.programme in programmes
