"""The feed of what happens to exams, from the streams of every shard. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.sinks.base import Decided
from eyestream.sinks.feed import START, Cursor, Happening, Place
from eyestream.sinks.readings import Read
from eyestream.sinks.redis_client import Command, Server
from eyestream.sinks.redis_keys import LAYOUT, Keys

_AT_ONCE: Final = 100
"""Events of one source in one round."""


class RedisFeed:
    """A `Feed` over the decisions of the line and the deeds of readers. Every call is one round trip."""

    def __init__(
        self, url: str, *, cluster: bool = False, timeout_s: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> None:
        self._server = Server(url, cluster=cluster, timeout_s=timeout_s, options=options or {})
        self._known: tuple[str, ...] = ()

    async def sources(self) -> int:
        """See `Feed.sources`."""
        return len(await self._streams())

    async def end(self) -> Cursor:
        """See `Feed.end`."""
        names = await self._streams()
        replies = await self._server.run([Command(("XREVRANGE", name, "+", "-", "COUNT", 1)) for name in names])
        return Cursor(tuple(_place(reply[0][0]) if reply else START for reply in replies))

    async def after(self, cursor: Cursor) -> Sequence[Happening]:
        """See `Feed.after`."""
        names = await self._streams()
        replies = await self._server.run(
            [
                Command(("XRANGE", name, f"({ms}-{seq}", "+", "COUNT", _AT_ONCE))
                for name, (ms, seq) in zip(names, cursor.places, strict=True)
            ]
        )
        found = [
            Happening(source, _place(identifier), _event(fields))
            for source, reply in enumerate(replies)
            for identifier, fields in reply
        ]
        return sorted(found, key=lambda happening: happening.place)

    async def forgotten(self, cursor: Cursor) -> bool:
        """See `Feed.forgotten`."""
        names = await self._streams()
        first = await self._server.run([Command(("XRANGE", name, "-", "+", "COUNT", 1)) for name in names])
        held = [_place(reply[0][0]) if reply else None for reply in first]
        # A place before a stream's first entry, other than its very beginning, was an entry that has been trimmed.
        return any(
            place != START and (oldest is None or place < oldest)
            for place, oldest in zip(cursor.places, held, strict=True)
        )

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        self._known = ()
        await self._server.close()

    async def _streams(self) -> tuple[str, ...]:
        if not self._known:
            [shards] = await self._server.run([Command(("GET", LAYOUT))])
            if shards is None:
                raise Misconfigured("this redis holds no results of eyestream: is it the one the workers write to?")
            keys = Keys(int(shards))
            every = range(keys.shards)
            self._known = (*(keys.results(shard) for shard in every), *(keys.readings(shard) for shard in every))
        return self._known


def _place(identifier: str) -> Place:
    ms, _, seq = identifier.partition("-")
    return int(ms), int(seq)


def _event(reply: Any) -> Decided | Read:
    fields = dict(reply) if isinstance(reply, Mapping) else dict(zip(reply[::2], reply[1::2], strict=True))
    if "deed" in fields:
        return Read(
            exam_id=fields["exam"],
            programme=fields["programme"],
            deed=fields["deed"],
            by=fields["by"],
            at=float(fields["at"]),
            until=float(fields["until"]) if fields["until"] else None,
        )
    return Decided(
        exam_id=fields["exam"],
        programme=fields["programme"],
        outcome=fields["outcome"],
        urgency=fields["urgency"],
        rank=int(fields["rank"]),
        version=int(fields["version"]),
        at=float(fields["at"]),
    )
