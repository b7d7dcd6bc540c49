"""Results in this process: the same promises as the real sinks, for tests, trials and dry runs. Survives nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eyestream.errors import Unavailable
from eyestream.records import Decision, Identity, Outcome, Picture, Screening, Unreadable, now, utc
from eyestream.sinks.base import (
    DEFAULT_TOLERANCE,
    WAITING,
    Decide,
    Decided,
    Exam,
    WorklistEntry,
    WorklistPage,
    same_result,
)
from eyestream.sinks.codec import picture_of

PART = "memory"


@dataclass(slots=True)
class _Known:
    programme: str
    day: dt.date
    since: float
    version: int = 0
    decided: int = 0
    decision: Decision | None = None
    pictures: dict[str, Picture] = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)
    results: dict[tuple[str, Identity], Screening] = field(default_factory=dict)

    def change(self, meta_captured: float) -> None:
        self.since = min(self.since, meta_captured)
        self.version += 1


class MemorySink:
    """A `Sink` and its `Results` in one. `unavailable` and `fail_after_store` make it fail as a server does."""

    def __init__(
        self, decide: Decide, *, tolerance: float = DEFAULT_TOLERANCE, clock: Callable[[], float] = now
    ) -> None:
        self._decide = decide
        self._tolerance = tolerance
        self._clock = clock
        self._exams: dict[str, _Known] = {}
        self._counts: dict[tuple[str, dt.date], Counter[str]] = {}
        self._conflicts: list[Screening] = []
        self._events: list[Decided] = []
        self._news = asyncio.Condition()
        self._refusals = 0
        self._lost_answers = 0

    def unavailable(self, times: int = 1) -> None:
        """The next `times` calls raise Unavailable and change nothing."""
        self._refusals += times

    def fail_after_store(self, times: int = 1) -> None:
        """The next `times` calls store and then raise Unavailable, as when a server's answer is lost on its way."""
        self._lost_answers += times

    async def store(self, screenings: Sequence[Screening]) -> list[Outcome]:
        """See `Sink.store`."""
        self._may_refuse()
        at = self._clock()
        outcomes = [self._keep(screening, at) for screening in screenings]
        await self._settle({screening.meta.exam_id for screening in screenings})
        self._may_lose_the_answer()
        return outcomes

    async def note_unreadable(self, pictures: Sequence[Unreadable]) -> None:
        """See `Sink.note_unreadable`."""
        self._may_refuse()
        for note in pictures:
            exam = self._exam_of(note)
            image_id = note.meta.image_id
            if image_id not in exam.pictures:
                exam.pictures[image_id] = picture_of(note)
                exam.unreadable[image_id] = note
                exam.change(note.meta.captured_at.timestamp())
                self._count(note.meta.programme, utc(self._clock()).date(), "unreadable")
        await self._settle({note.meta.exam_id for note in pictures})
        self._may_lose_the_answer()

    async def check(self) -> None:
        """See `Sink.check`."""
        if self._refusals:
            raise Unavailable(PART, "told to be away")

    async def close(self) -> None:
        """Does nothing: what is stored stays readable."""

    def _may_refuse(self) -> None:
        if self._refusals:
            self._refusals -= 1
            raise Unavailable(PART, "told to be away")

    def _may_lose_the_answer(self) -> None:
        if self._lost_answers:
            self._lost_answers -= 1
            raise Unavailable(PART, "told to lose its answer")

    def _exam_of(self, result: Screening | Unreadable) -> _Known:
        meta = result.meta
        day, since = utc(self._clock()).date(), meta.captured_at.timestamp()
        return self._exams.setdefault(meta.exam_id, _Known(meta.programme, day, since))

    def _count(self, programme: str, day: dt.date, name: str, by: int = 1) -> None:
        self._counts.setdefault((programme, day), Counter())[name] += by

    def _keep(self, screening: Screening, at: float) -> Outcome:
        meta, identity = screening.meta, screening.identity
        if screening.timings.stored is None:
            screening = dataclasses.replace(screening, timings=dataclasses.replace(screening.timings, stored=at))
        exam = self._exam_of(screening)
        known = exam.results.get((meta.image_id, identity))
        outcome: Outcome = "stored"
        if known is None:
            exam.results[meta.image_id, identity] = screening
            exam.pictures[meta.image_id] = picture_of(screening)
            exam.unreadable.pop(meta.image_id, None)
            exam.change(meta.captured_at.timestamp())
        elif same_result(known, screening, self._tolerance):
            outcome = "duplicate"
        else:
            outcome = "conflict"
            self._conflicts.insert(0, screening)
        self._count(meta.programme, utc(at).date(), outcome)
        return outcome

    async def _settle(self, exam_ids: set[str]) -> None:
        for exam_id in sorted(exam_ids):
            exam = self._exams[exam_id]
            if exam.decided == exam.version:
                continue
            pictures = [exam.pictures[image_id] for image_id in sorted(exam.pictures)]
            decision = self._decide(exam.programme, exam_id, pictures)
            if exam.decision is not None:
                self._count(exam.programme, exam.day, exam.decision.outcome, -1)
            self._count(exam.programme, exam.day, decision.outcome)
            exam.decision, exam.decided = decision, exam.version
            event = Decided(
                exam_id=exam_id,
                programme=exam.programme,
                outcome=decision.outcome,
                urgency=decision.urgency,
                rank=decision.rank,
                version=exam.version,
                at=self._clock(),
            )
            async with self._news:
                self._events.append(event)
                self._news.notify_all()

    async def exam(self, exam_id: str) -> Exam | None:
        """See `Results.exam`."""
        known = self._exams.get(exam_id)
        if known is None:
            return None
        return Exam(
            exam_id=exam_id,
            programme=known.programme,
            version=known.version,
            decided=known.decided,
            since=known.since,
            pictures=tuple(known.pictures[image_id] for image_id in sorted(known.pictures)),
            decision=known.decision,
            unreadable=tuple(known.unreadable[image_id] for image_id in sorted(known.unreadable)),
        )

    async def screening(self, exam_id: str, image_id: str, identity: Identity) -> Screening | None:
        """See `Results.screening`."""
        known = self._exams.get(exam_id)
        return known.results.get((image_id, identity)) if known else None

    async def screenings(self, exam_id: str) -> list[Screening]:
        """See `Results.screenings`."""
        known = self._exams.get(exam_id)
        return sorted(known.results.values(), key=lambda result: result.timings.stored or 0) if known else []

    async def worklist(self, programme: str, *, limit: int = 50, cursor: str | None = None) -> WorklistPage:
        """See `Results.worklist`."""
        waiting = sorted(
            (
                WorklistEntry(exam_id, exam.decision.rank, exam.since)
                for exam_id, exam in self._exams.items()
                if exam.programme == programme and exam.decision and exam.decision.outcome in WAITING
            ),
            key=lambda entry: (-entry.rank, entry.since, entry.exam_id),
        )
        start = int(cursor or 0)
        rest = waiting[start + limit :]
        return WorklistPage(tuple(waiting[start : start + limit]), str(start + limit) if rest else None)

    async def counts(self, programme: str, day: dt.date) -> Mapping[str, int]:
        """See `Results.counts`."""
        return {name: count for name, count in self._counts.get((programme, day), {}).items() if count}

    async def conflicts(self, programme: str, *, limit: int = 50) -> list[Screening]:
        """See `Results.conflicts`."""
        return [result for result in self._conflicts if result.meta.programme == programme][:limit]

    async def tail(self, *, from_start: bool = False) -> AsyncIterator[Decided]:
        """See `Results.tail`."""
        seen = 0 if from_start else len(self._events)
        while True:
            async with self._news:
                while len(self._events) == seen:
                    await self._news.wait()
            yield self._events[seen]
            seen += 1
