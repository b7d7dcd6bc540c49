"""Results in Redis: what `RedisSink` writes. Nothing here judges an eye; that is the caller's `decide`.

Two round trips a batch (docs/decisions/0004-two-round-trips-per-batch.md): store every picture and learn how its exam
now stands; decide each exam that changed, which the server accepts only if nothing changed it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Outcome, Picture, Screening, Unreadable, now, utc
from eyestream.sinks import codec
from eyestream.sinks.base import DEFAULT_TOLERANCE, WAITING, Decide, Retention
from eyestream.sinks.redis_client import PART, Call, Command, Server
from eyestream.sinks.redis_durability import Durability, barrier, look_at_persistence
from eyestream.sinks.redis_keys import LAYOUT, Keys
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

DEFAULT_RETENTION_S: Final = 400 * 86_400.0
"""A little over the year after which most programmes invite again."""

_KEEP_CONFLICTS: Final = 1000
_ROUNDS: Final = 16
"""Lost races before a decision is given back to the line's own retry. Each lost race is another's progress."""


def keep_a_year(_programme: str) -> float:
    """The retention of a programme that names none."""
    return DEFAULT_RETENTION_S


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the server says an exam stands."""

    version: int
    decided: int
    programme: str
    day: str
    pictures: tuple[Picture, ...]

    @classmethod
    def read(cls, reply: str) -> _Standing:
        raw = json.loads(reply)
        known = sorted(map(codec.picture_from, raw.pop("pictures")), key=lambda picture: picture.image_id)
        return cls(**raw, pictures=tuple(known))


def _last_of_each(exams: Sequence[str]) -> set[int]:
    """Of the calls for an exam in one pipeline, only the last one's answer knows all its pictures."""
    return set({exam: index for index, exam in enumerate(exams)}.values())


class RedisSink:
    """Keeps results on one Redis or Valkey server (7.0 or later) or on a cluster.

    `decide` is called on the event loop with an exam's pictures in order of image_id, possibly several times for one
    change, and must depend on them alone. `events` bounds each shard's stream of decisions. `timeout_s` bounds each
    round trip; `wait_fsync`, `wait_replicas` and `wait_timeout_ms` are what `Durability` says. A result's
    `timings.stored` is set here when it is None.
    """

    def __init__(
        self,
        url: str,
        decide: Decide,
        *,
        cluster: bool = False,
        shards: int = 16,
        retention: Retention = keep_a_year,
        tolerance: float = DEFAULT_TOLERANCE,
        wait_fsync: bool = False,
        wait_replicas: int = 0,
        wait_timeout_ms: int = 3000,
        events: int = 100_000,
        timeout_s: float = 5.0,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        self._durability = Durability(wait_fsync, wait_replicas, wait_timeout_ms / 1000)
        patience_s = timeout_s + self._durability.timeout_s
        self._server = Server(url, cluster=cluster, timeout_s=patience_s, options=options or {})
        self._decide = decide
        self._keys = Keys(shards)
        self._retention = retention
        self._tolerance = tolerance
        self._events = events
        self._clock = clock
        self._waits_for_fsync = False
        self._ready = False
        self._starting = asyncio.Lock()

    async def store(self, screenings: Sequence[Screening]) -> list[Outcome]:
        """Keep these results; see `Sink.store`. Two round trips, three when durability is asked for."""
        if not screenings:
            return []
        async with self._server_at_hand():
            outcomes = await self._store(screenings)
        for screening, outcome in zip(screenings, outcomes, strict=True):
            if outcome == "conflict":
                log.error(
                    "a picture was judged anew and differently; the first result stands",
                    extra={
                        "action": Verb.CONFLICTED,
                        "image_id": screening.meta.image_id,
                        "exam_id": screening.meta.exam_id,
                        "programme": screening.meta.programme,
                        "traceparent": screening.traceparent,
                    },
                )
        return outcomes

    async def _store(self, screenings: Sequence[Screening]) -> list[Outcome]:
        at = self._clock()
        exams = [screening.meta.exam_id for screening in screenings]
        last = _last_of_each(exams)
        replies = await self._server.run(
            [self._store_call(screening, at, ask=index in last) for index, screening in enumerate(screenings)]
        )
        outcomes: list[Outcome] = [outcome for outcome, _ in replies]
        await self._settle({exams[index]: replies[index][1] for index in last})
        await self._harden(exams)
        return outcomes

    async def note_unreadable(self, pictures: Sequence[Unreadable]) -> None:
        """See `Sink.note_unreadable`. A note for a picture that has a result changes nothing."""
        if not pictures:
            return
        async with self._server_at_hand():
            exams = [note.meta.exam_id for note in pictures]
            last = _last_of_each(exams)
            replies = await self._server.run(
                [self._note_call(note, ask=index in last) for index, note in enumerate(pictures)]
            )
            await self._settle({exams[index]: replies[index][1] for index in last})
            await self._harden(exams)

    async def check(self) -> None:
        """Writes a key that expires to every shard; raises Unavailable when one does not take it."""
        async with self._server_at_hand():
            shards = range(self._keys.shards)
            await self._server.run([Command(("SET", self._keys.probe(shard), "1", "EX", 60)) for shard in shards])

    async def close(self) -> None:
        """Drop the connections. Idempotent."""
        self._ready = False
        await self._server.close()

    def _ttl(self, programme: str) -> int:
        return max(1, int(self._retention(programme)))

    def _store_call(self, screening: Screening, at: float, *, ask: bool) -> Call:
        meta, identity = screening.meta, str(screening.identity)
        findings = codec.dump_findings(screening.findings)
        shard, day = self._keys.shard(meta.exam_id), str(utc(at).date())
        return Call(
            "store",
            [
                self._keys.exam(meta.exam_id),
                self._keys.image(meta.exam_id, meta.image_id, identity),
                self._keys.count(shard, meta.programme, day),
                self._keys.conflicts(shard, meta.programme),
            ],
            [
                meta.image_id,
                identity,
                codec.dump_screening(screening, findings=findings, stored=at),
                codec.dump_picture(codec.picture_of(screening), findings=findings),
                self._tolerance,
                meta.programme,
                day,
                meta.captured_at.timestamp(),
                self._ttl(meta.programme),
                _KEEP_CONFLICTS,
                int(ask),
            ],
        )

    def _note_call(self, note: Unreadable, *, ask: bool) -> Call:
        meta, day = note.meta, str(utc(self._clock()).date())
        return Call(
            "note",
            [
                self._keys.exam(meta.exam_id),
                self._keys.count(self._keys.shard(meta.exam_id), meta.programme, day),
            ],
            [
                meta.image_id,
                codec.dump_unreadable(note),
                codec.dump_picture(codec.picture_of(note)),
                meta.programme,
                day,
                meta.captured_at.timestamp(),
                self._ttl(meta.programme),
                int(ask),
            ],
        )

    async def _settle(self, replies: Mapping[str, str]) -> None:
        """Decide every exam whose decision is older than its pictures, until nothing changed in between."""
        open_ = {exam: _Standing.read(reply) for exam, reply in replies.items()}
        for _ in range(_ROUNDS):
            open_ = {exam: standing for exam, standing in open_.items() if standing.decided != standing.version}
            if not open_:
                return
            answers = await self._server.run([self._decide_call(exam, standing) for exam, standing in open_.items()])
            newer = {
                exam: _Standing.read(reply)
                for exam, (outcome, reply) in zip(open_, answers, strict=True)
                if outcome == "stale"
            }
            if any(standing.version < open_[exam].version for exam, standing in newer.items()):
                # A replica was promoted, or the server came back without them: to wait for its disk proves nothing.
                raise Unavailable(PART, "it forgot pictures that it had just taken: another server answers")
            open_ = newer
        raise Unavailable(PART, f"{len(open_)} exams changed faster than they could be decided")

    def _decide_call(self, exam_id: str, standing: _Standing) -> Call:
        decision = self._decide(standing.programme, exam_id, standing.pictures)
        shard, programme = self._keys.shard(exam_id), standing.programme
        return Call(
            "decide",
            [
                self._keys.exam(exam_id),
                self._keys.worklist(shard, programme),
                self._keys.expiry(shard, programme),
                self._keys.results(shard),
                self._keys.count(shard, programme, standing.day),
            ],
            [
                exam_id,
                standing.version,
                codec.dump_decision(decision),
                programme,
                decision.outcome,
                decision.urgency,
                decision.rank,
                int(decision.outcome in WAITING),
                self._clock(),
                self._ttl(programme),
                self._events,
            ],
        )

    async def _harden(self, exams: Sequence[str]) -> None:
        wanted = dataclasses.replace(self._durability, fsync=self._waits_for_fsync)
        if wanted.fsync or wanted.replicas:
            await barrier(self._server, {self._keys.probe(self._keys.shard(exam)) for exam in exams}, wanted)

    @contextlib.asynccontextmanager
    async def _server_at_hand(self) -> AsyncIterator[None]:
        """Looks at the server before it is first used, and again after it was away: it may be another one."""
        try:
            await self._start()
            yield
        except Unavailable:
            self._ready = False
            raise

    async def _start(self) -> None:
        async with self._starting:
            if self._ready:
                return
            await self._agree_on_shards()
            await self._server.load()
            self._waits_for_fsync = await look_at_persistence(self._server, self._durability)
            self._ready = True

    async def _agree_on_shards(self) -> None:
        ours = str(self._keys.shards)
        _, theirs = await self._server.run([Command(("SET", LAYOUT, ours, "NX")), Command(("GET", LAYOUT))])
        if theirs != ours:
            raise Misconfigured(
                f"this redis holds results in {theirs} shards and this worker is set to {ours}: it would miss what is"
                f" stored and store it again. Set shards to {theirs}."
            )
