"""People's readings and the audit record in Redis, beside the results that `redis.RedisSink` writes. Judges no eye."""

from __future__ import annotations

import heapq
import itertools
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.records import now
from eyestream.sinks import codec
from eyestream.sinks.audit import Actor, AuditPage, Entry
from eyestream.sinks.readings import Answer, Dossier, Reading, State, Verdict, Version
from eyestream.sinks.redis_client import Call, Command, Library, Server
from eyestream.sinks.redis_keys import LAYOUT, Keys
from eyestream.sinks.redis_reader import exam_from, pairs

FIELDS: Final = (
    "programme",
    "version",
    "decided",
    "decision",
    "reading:version",
    "reading:reader",
    "reading:since",
    "reading:until",
    "reading:verdict",
    "reading:pictures",
)
"""Of an exam's hash, in the order that `readings.lua` answers with."""

DEFAULT_AUDIT_KEPT_S: Final = 10 * 366 * 86_400.0
_EVENTS: Final = 100_000
_CURSOR: Final = re.compile(r"([0-9]{1,16})-([0-9]{1,16}):([0-9]{1,4})")


class RedisReadings:
    """A `Readings`, `Dossiers` and `Audit` on one server or a cluster; learns the number of shards from the server.

    Every call is one round trip; `decide` and `reopen` need two. `audit_kept_s` is how long entries are kept.
    """

    def __init__(
        self,
        url: str,
        *,
        cluster: bool = False,
        timeout_s: float = 5.0,
        audit_kept_s: float = DEFAULT_AUDIT_KEPT_S,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        library = Library.packaged("readings.lua")
        self._server = Server(url, cluster=cluster, timeout_s=timeout_s, options=options or {}, library=library)
        self._clock = clock
        self._audit_kept_s = audit_kept_s
        self._known: Keys | None = None

    async def readings(self, exam_ids: Sequence[str]) -> list[Reading | None]:
        """See `Readings.readings`."""
        if not exam_ids:
            return []
        keys = await self._keys()
        replies = await self._server.run([Command(("HMGET", keys.exam(exam_id), *FIELDS)) for exam_id in exam_ids])
        at = self._clock()
        return [reading_from(exam_id, fields, at) for exam_id, fields in zip(exam_ids, replies, strict=True)]

    async def dossier(self, exam_id: str, entry: Entry) -> Dossier | None:
        """See `Dossiers.dossier`. Two round trips."""
        keys = await self._keys()
        look = Command(("HGETALL", keys.exam(exam_id)))
        reply, _ = await self._server.run([look, self._record(keys, entry)])
        fields = pairs(reply)
        reading = reading_from(exam_id, [fields.get(name) for name in FIELDS], self._clock())
        if reading is None:
            return None
        names = [name.split(":")[1:] for name in fields if name.startswith("result:")]
        texts = []
        if names:
            texts = await self._server.run(
                [Command(("GET", keys.image(exam_id, image_id, identity))) for image_id, identity in names]
            )
        results = [codec.load_screening(text) for text in texts if text]
        results.sort(key=lambda result: (result.timings.stored or 0, result.meta.image_id))
        return Dossier(exam_from(exam_id, fields), reading, results)

    async def claim(self, exam_id: str, actor: Actor, *, for_s: float, seen: Version | None = None) -> Answer:
        """See `Readings.claim`."""
        return await self._call("claim", exam_id, actor, seen, f"{self._clock() + for_s:.3f}")

    async def release(self, exam_id: str, actor: Actor) -> Answer:
        """See `Readings.release`."""
        return await self._call("release", exam_id, actor, None)

    async def decide(
        self, exam_id: str, actor: Actor, *, outcome: str, urgency: str, comment: str, seen: Version
    ) -> Answer:
        """See `Readings.decide`."""
        text = json.dumps(
            {"outcome": outcome, "urgency": urgency, "comment": comment, "by": actor.who, "at": self._clock()}
        )
        return await self._call_listed("verdict", exam_id, actor, seen, text, f"{outcome} {urgency}")

    async def reopen(self, exam_id: str, actor: Actor, *, seen: Version) -> Answer:
        """See `Readings.reopen`."""
        return await self._call_listed("reopen", exam_id, actor, seen)

    async def record(self, entries: Sequence[Entry]) -> None:
        """See `Audit.record`."""
        keys = await self._keys()
        await self._server.run([self._record(keys, entry) for entry in entries])

    async def entries(self, *, since: float, until: float, limit: int = 100, cursor: str | None = None) -> AuditPage:
        """See `Audit.entries`. Times are those of the server's clock."""
        keys = await self._keys()
        newest, before = f"{max(0, round(until * 1000))}", _place(cursor)
        if before is not None:
            newest = f"{before[0]}-{before[1]}"
        oldest = f"{max(0, round(since * 1000))}"
        replies = await self._server.run(
            [
                Command(("XREVRANGE", keys.audit(shard), newest, oldest, "COUNT", limit + 2))
                for shard in range(keys.shards)
            ]
        )
        found = (
            ((*map(int, identifier.split("-")), shard), fields)
            for shard, reply in enumerate(replies)
            for identifier, fields in reply
        )
        older = [one for one in found if before is None or one[0] < before]
        page = heapq.nlargest(limit + 1, older, key=lambda one: one[0])
        last = "{}-{}:{}".format(*page[limit - 1][0]) if len(page) > limit else None
        return AuditPage(tuple(_entry(pairs(fields)) for _, fields in page[:limit]), last)

    async def close(self) -> None:
        """See `Readings.close`."""
        self._known = None
        await self._server.close()

    def _record(self, keys: Keys, entry: Entry) -> Command:
        shard = keys.shard(entry.exam_id) if entry.exam_id else zlib.crc32(entry.actor.who.encode()) % keys.shards
        fields = {
            "at": f"{entry.at:.3f}",
            "who": entry.actor.who,
            "how": entry.actor.how,
            "request": entry.actor.request,
            "action": entry.action,
            "exam": entry.exam_id,
            "image": entry.image_id,
            "programme": entry.programme,
            "detail": entry.detail,
        }
        flat = itertools.chain.from_iterable(fields.items())
        return Command(("XADD", keys.audit(shard), "MINID", "~", self._keep_from(), "*", *flat))

    def _keep_from(self) -> int:
        return max(0, round((self._clock() - self._audit_kept_s) * 1000))

    async def _call_listed(self, function: str, exam_id: str, actor: Actor, seen: Version, *rest: str) -> Answer:
        """A call that changes the worklist, whose name holds the programme's."""
        [reading] = await self.readings([exam_id])
        if reading is None:
            return Answer("unknown", None)
        return await self._call(function, exam_id, actor, seen, reading.programme, *rest, listed=reading.programme)

    async def _call(
        self, function: str, exam_id: str, actor: Actor, seen: Version | None, *rest: str, listed: str | None = None
    ) -> Answer:
        keys, at = await self._keys(), self._clock()
        shard = keys.shard(exam_id)
        touched = [keys.exam(exam_id), keys.readings(shard), keys.audit(shard)]
        if listed is not None:
            touched += [keys.worklist(shard, listed), keys.expiry(shard, listed)]
        who = (actor.who, actor.how, actor.request)
        call = Call(function, touched, [exam_id, *who, f"{at:.3f}", str(seen or ""), _EVENTS, self._keep_from(), *rest])
        [(fate, fields)] = await self._server.run([call])
        return Answer(fate, reading_from(exam_id, fields, at))

    async def _keys(self) -> Keys:
        if self._known is None:
            [shards] = await self._server.run([Command(("GET", LAYOUT))])
            if shards is None:
                raise Misconfigured("this redis holds no results of eyestream: is it the one the workers write to?")
            self._known = Keys(int(shards))
        return self._known


def reading_from(exam_id: str, values: Sequence[str | None], at: float) -> Reading | None:
    """The reading that these `FIELDS` of an exam's hash tell of, at that time."""
    fields = dict(zip(FIELDS, values, strict=True))
    programme, pictures = fields["programme"], fields["version"]
    if programme is None or pictures is None:
        return None
    verdict = None
    if (text := fields["reading:verdict"]) is not None:
        verdict = Verdict(**json.loads(text), pictures=int(fields["reading:pictures"] or 0))
    reader, until = fields["reading:reader"], float(fields["reading:until"] or 0)
    holds = reader is not None and until > at
    state: State = "claimed" if holds else "open"
    if verdict is not None and verdict.pictures == int(pictures):
        state = "decided"
    return Reading(
        exam_id=exam_id,
        programme=programme,
        version=Version(int(pictures), int(fields["decided"] or 0), int(fields["reading:version"] or 0)),
        state=state,
        decision=codec.load_decision(fields["decision"]) if fields["decision"] else None,
        reader=reader if holds else None,
        since=float(fields["reading:since"] or 0) if holds else None,
        until=until if holds else None,
        verdict=verdict,
    )


def _place(cursor: str | None) -> tuple[int, int, int] | None:
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise ValueError("not a place in the audit record")
    ms, seq, shard = map(int, match.groups())
    return ms, seq, shard


def _entry(fields: Mapping[str, str]) -> Entry:
    return Entry(
        actor=Actor(who=fields["who"], how=fields["how"], request=fields["request"]),
        action=fields["action"],
        at=float(fields["at"]),
        exam_id=fields["exam"],
        image_id=fields["image"],
        programme=fields["programme"],
        detail=fields["detail"],
    )
