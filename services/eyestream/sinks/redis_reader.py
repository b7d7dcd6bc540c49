"""Results out of Redis: the reader of the keys that `redis.RedisSink` writes. Nothing here changes a key."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import heapq
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.records import Identity, Picture, Screening
from eyestream.sinks import codec
from eyestream.sinks.base import Decided, Exam, WorklistEntry, WorklistPage
from eyestream.sinks.redis_client import Command, Server
from eyestream.sinks.redis_keys import LAYOUT, Keys

_SPAN: Final = 1e10
_CURSOR: Final = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,2})?):([A-Za-z0-9._-]{1,64})")
_EVENTS_A_ROUND: Final = 100


class ResultsReader:
    """Reads what any number of RedisSinks write; learns the number of shards from the server.

    Every method is one round trip, on a cluster one for each node (`screenings` and `worklist` need two).
    """

    def __init__(
        self,
        url: str,
        *,
        cluster: bool = False,
        timeout_s: float = 5.0,
        poll_s: float = 0.5,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._server = Server(url, cluster=cluster, timeout_s=timeout_s, options=options or {})
        self._poll_s = poll_s
        self._known: Keys | None = None

    async def exam(self, exam_id: str) -> Exam | None:
        """See `Results.exam`."""
        keys = await self._keys()
        [fields] = await self._server.run([Command(("HGETALL", keys.exam(exam_id)))])
        return exam_from(exam_id, pairs(fields)) if fields else None

    async def screening(self, exam_id: str, image_id: str, identity: Identity) -> Screening | None:
        """See `Results.screening`."""
        keys = await self._keys()
        [text] = await self._server.run([Command(("GET", keys.image(exam_id, image_id, identity)))])
        return codec.load_screening(text) if text else None

    async def screenings(self, exam_id: str) -> list[Screening]:
        """See `Results.screenings`."""
        keys = await self._keys()
        [names] = await self._server.run([Command(("HKEYS", keys.exam(exam_id)))])
        entries = [name.split(":")[1:] for name in names if name.startswith("result:")]
        if not entries:
            return []
        texts = await self._server.run(
            [Command(("GET", keys.image(exam_id, image_id, identity))) for image_id, identity in entries]
        )
        results = [codec.load_screening(text) for text in texts if text]
        return sorted(results, key=lambda result: (result.timings.stored or 0, result.meta.image_id))

    async def worklist(self, programme: str, *, limit: int = 50, cursor: str | None = None) -> WorklistPage:
        """See `Results.worklist`.

        A cursor is the place after an entry, so an exam that joins or leaves in between moves nobody else: each is on
        exactly one page.
        """
        keys = await self._keys()
        names = [keys.worklist(shard, programme) for shard in range(keys.shards)]
        low, after = _place(cursor)
        ties = [0] * len(names)
        if cursor is not None:
            ties = await self._server.run([Command(("ZCOUNT", name, low, low)) for name in names])
        replies = await self._server.run(
            [
                Command(("ZRANGE", name, low, "+inf", "BYSCORE", "LIMIT", 0, limit + 1 + tied, "WITHSCORES"))
                for name, tied in zip(names, ties, strict=True)
            ]
        )
        waiting = heapq.nsmallest(limit + 1, (place for reply in replies for place in _scored(reply) if place > after))
        page = waiting[:limit]
        last = f"{page[-1][0]!r}:{page[-1][1]}" if len(waiting) > limit and page else None
        return WorklistPage(tuple(_entry(score, exam_id) for score, exam_id in page), last)

    async def counts(self, programme: str, day: dt.date) -> Mapping[str, int]:
        """See `Results.counts`."""
        keys = await self._keys()
        replies = await self._server.run(
            [Command(("HGETALL", keys.count(shard, programme, day))) for shard in range(keys.shards)]
        )
        total: Counter[str] = Counter()
        for reply in replies:
            total.update({name: int(count) for name, count in pairs(reply).items()})
        return {name: count for name, count in sorted(total.items()) if count}

    async def conflicts(self, programme: str, *, limit: int = 50) -> list[Screening]:
        """See `Results.conflicts`."""
        keys = await self._keys()
        replies = await self._server.run(
            [Command(("LRANGE", keys.conflicts(shard, programme), 0, limit - 1)) for shard in range(keys.shards)]
        )
        found = [codec.load_screening(text) for reply in replies for text in reply]
        return sorted(found, key=lambda result: result.timings.stored or 0, reverse=True)[:limit]

    async def tail(self, *, from_start: bool = False) -> AsyncIterator[Decided]:
        """See `Results.tail`. Looks every `poll_s` seconds: a blocking read would need a connection for each node."""
        keys = await self._keys()
        names = [keys.results(shard) for shard in range(keys.shards)]
        seen = dict.fromkeys(names, "0-0")
        if not from_start:
            newest = await self._server.run([Command(("XREVRANGE", name, "+", "-", "COUNT", 1)) for name in names])
            seen |= {name: _events(reply)[0][0] for name, reply in zip(names, newest, strict=True) if reply}
        while True:
            replies = await self._server.run(
                [Command(("XRANGE", name, f"({seen[name]}", "+", "COUNT", _EVENTS_A_ROUND)) for name in names]
            )
            events = []
            for name, reply in zip(names, replies, strict=True):
                for identifier, fields in _events(reply):
                    seen[name] = identifier
                    events.append(_decided(fields))
            for event in sorted(events, key=lambda event: event.at):
                yield event
            if not events:
                await asyncio.sleep(self._poll_s)

    async def close(self) -> None:
        """See `Results.close`."""
        self._known = None
        await self._server.close()

    async def _keys(self) -> Keys:
        if self._known is None:
            [shards] = await self._server.run([Command(("GET", LAYOUT))])
            if shards is None:
                raise Misconfigured("this redis holds no results of eyestream: is it the one the workers write to?")
            self._known = Keys(int(shards))
        return self._known


def pairs(reply: Any) -> dict[str, str]:
    """A hash, whether the client made a dict of the answer or left it flat."""
    if isinstance(reply, Mapping):
        return dict(reply)
    return dict(zip(reply[::2], reply[1::2], strict=True))


def exam_from(exam_id: str, fields: Mapping[str, str]) -> Exam:
    """The exam that its hash tells of."""
    pictures: list[Picture] = []
    notes = []
    for name, value in fields.items():
        if name.startswith(("picture:", "note:")):
            pictures.append(codec.load_picture(value))
        elif name.startswith("unreadable:"):
            notes.append(codec.load_unreadable(value))
    decision = fields.get("decision")
    return Exam(
        exam_id=exam_id,
        programme=fields["programme"],
        version=int(fields["version"]),
        decided=int(fields.get("decided", 0)),
        since=float(fields["since"]),
        pictures=tuple(sorted(pictures, key=lambda picture: picture.image_id)),
        decision=codec.load_decision(decision) if decision else None,
        unreadable=tuple(sorted(notes, key=lambda note: note.meta.image_id)),
    )


def _place(cursor: str | None) -> tuple[float | str, tuple[float, str]]:
    """The score to read from, and the place (score, then exam) behind which the page begins."""
    if cursor is None:
        return "-inf", (float("-inf"), "")
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError("not a place in a worklist")
    return float(match[1]), (float(match[1]), match[2])


def _scored(reply: Sequence[Any]) -> list[tuple[float, str]]:
    pairs = reply if reply and not isinstance(reply[0], str) else list(zip(reply[::2], reply[1::2], strict=True))
    return [(float(score), exam_id) for exam_id, score in pairs]


def _entry(score: float, exam_id: str) -> WorklistEntry:
    """The worklist's score is since - span * (rank + 1)."""
    band, since = divmod(score, _SPAN)
    return WorklistEntry(exam_id, int(-band) - 1, round(since, 3))


def _events(reply: Any) -> list[tuple[str, dict[str, str]]]:
    return [(identifier, pairs(fields)) for identifier, fields in reply]


def _decided(fields: Mapping[str, str]) -> Decided:
    names = {field.name for field in dataclasses.fields(Decided)}
    text = {("exam_id" if name == "exam" else name): value for name, value in fields.items()}
    return Decided(
        **{name: text[name] for name in names - {"rank", "version", "at"}},
        rank=int(text["rank"]),
        version=int(text["version"]),
        at=float(text["at"]),
    )
