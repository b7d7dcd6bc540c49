"""What is in flight: bounded in pictures and bytes, acknowledged in order though it finishes out of order.

Knows positions only, neither brokers nor pictures.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from dataclasses import dataclass

from eyestream.records import Position

Source = tuple[str, int, int]
"""Topic, partition and epoch: what one contiguous run of offsets belongs to."""


@dataclass(slots=True)
class _Flight:
    position: Position
    nbytes: int
    done: bool = False


class Window:
    """Positions between fetched and acknowledged. For one event loop; not thread-safe.

    A picture larger than `max_bytes` is let in when nothing else is in flight, so that none can block the line.
    """

    def __init__(self, *, max_pictures: int, max_bytes: int) -> None:
        self._max_pictures = max_pictures
        self._max_bytes = max_bytes
        self._flights: defaultdict[Source, OrderedDict[int, _Flight]] = defaultdict(OrderedDict)
        self._changed = asyncio.Condition()
        self.pictures = 0
        self.nbytes = 0

    async def open(self, position: Position, *, nbytes: int) -> None:
        """Take the position in, waiting until there is room. Call in offset order within a partition."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(nbytes))
            self._flights[_source(position)][position.offset] = _Flight(position, nbytes)
            self.pictures += 1
            self.nbytes += nbytes

    async def done(self, position: Position) -> Position | None:
        """The picture is stored or in the dead letters.

        Returns the position up to which everything of its partition is done, when this moved it; else None. Raises
        KeyError for a position that is not in flight: finishing one twice is a bug that must not stay hidden.
        """
        source = _source(position)
        flights = self._flights[source]
        flight = flights[position.offset]
        if flight.done:
            raise KeyError(position)
        flight.done = True
        watermark: Position | None = None
        while flights and (first := next(iter(flights.values()))).done:
            watermark = flights.popitem(last=False)[1].position
            self.pictures -= 1
            self.nbytes -= first.nbytes
        if not flights:
            del self._flights[source]
        if watermark is not None:
            async with self._changed:
                self._changed.notify_all()
        return watermark

    def _has_room(self, nbytes: int) -> bool:
        if self.pictures == 0:
            return True
        return self.pictures < self._max_pictures and self.nbytes + nbytes <= self._max_bytes


def _source(position: Position) -> Source:
    return position.topic, position.partition, position.epoch
