"""People's readings and the audit record in this process, over a MemorySink's exams. For tests; survives nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eyestream.errors import Unavailable
from eyestream.records import now
from eyestream.sinks.audit import Actor, AuditPage, Entry
from eyestream.sinks.base import Results
from eyestream.sinks.readings import Answer, Dossier, Fate, Reading, State, Verdict, Version


@dataclass(frozen=True, slots=True)
class _Held:
    version: int = 0
    reader: str | None = None
    since: float = 0.0
    until: float = 0.0
    verdict: Verdict | None = None


class MemoryReadings:
    """A `Readings`, `Dossiers` and `Audit`. Its worklist is the sink's own, which keeps what a reader decided."""

    def __init__(self, results: Results, *, clock: Callable[[], float] = now) -> None:
        self._results = results
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._record: list[Entry] = []
        self._refusals = 0

    def unavailable(self, times: int = 1) -> None:
        """The next `times` entries are not taken."""
        self._refusals += times

    async def readings(self, exam_ids: Sequence[str]) -> list[Reading | None]:
        """See `Readings.readings`."""
        return [await self._reading(exam_id) for exam_id in exam_ids]

    async def dossier(self, exam_id: str, entry: Entry) -> Dossier | None:
        """See `Dossiers.dossier`."""
        await self.record([entry])
        exam, reading = await self._results.exam(exam_id), await self._reading(exam_id)
        if exam is None or reading is None:
            return None
        return Dossier(exam, reading, await self._results.screenings(exam_id))

    async def claim(self, exam_id: str, actor: Actor, *, for_s: float, seen: Version | None = None) -> Answer:
        """See `Readings.claim`."""
        reading = await self._reading(exam_id)
        until = self._clock() + for_s
        if reading is None or (seen is not None and seen != reading.version):
            return Answer("stale" if reading else "unknown", reading)
        if reading.state == "decided":
            return Answer("decided", reading)
        if reading.state == "claimed":
            if reading.reader != actor.who:
                return Answer("taken", reading)
            self._held[exam_id] = replace(self._held[exam_id], until=until)
            return Answer("done", await self._reading(exam_id))
        return await self._change(reading, actor, "claimed", reader=actor.who, since=self._clock(), until=until)

    async def release(self, exam_id: str, actor: Actor) -> Answer:
        """See `Readings.release`."""
        reading = await self._reading(exam_id)
        if reading is None:
            return Answer("unknown", None)
        if self._held.get(exam_id, _Held()).reader == actor.who:
            return await self._change(reading, actor, "released", reader=None)
        return Answer("taken" if reading.state == "claimed" else "done", reading)

    async def decide(
        self, exam_id: str, actor: Actor, *, outcome: str, urgency: str, comment: str, seen: Version
    ) -> Answer:
        """See `Readings.decide`."""
        reading = await self._reading(exam_id)
        refusal: Fate | None = None
        if reading is None or seen != reading.version:
            return Answer("stale" if reading else "unknown", reading)
        if self._held.get(exam_id, _Held()).reader != actor.who:
            refusal = "taken" if reading.state == "claimed" else "not-claimed"
            return Answer(refusal, reading)
        told: dict[str, Any] = {"outcome": outcome, "urgency": urgency, "comment": comment, "by": actor.who}
        verdict = Verdict(**told, at=self._clock(), pictures=reading.version.pictures)
        return await self._change(
            reading, actor, "decided", f"{outcome} {urgency}", reader=None, until=0.0, verdict=verdict
        )

    async def reopen(self, exam_id: str, actor: Actor, *, seen: Version) -> Answer:
        """See `Readings.reopen`."""
        reading = await self._reading(exam_id)
        if reading is None or seen != reading.version:
            return Answer("stale" if reading else "unknown", reading)
        if reading.state != "decided":
            return Answer("not-decided", reading)
        return await self._change(reading, actor, "reopened", verdict=None)

    async def record(self, entries: Sequence[Entry]) -> None:
        """See `Audit.record`."""
        if self._refusals:
            self._refusals -= 1
            raise Unavailable("memory", "told to be away")
        self._record.extend(entries)

    async def entries(self, *, since: float, until: float, limit: int = 100, cursor: str | None = None) -> AuditPage:
        """See `Audit.entries`."""
        end = len(self._record) if cursor is None else int(cursor)
        places = [place for place in range(end - 1, -1, -1) if since <= self._record[place].at <= until]
        page = tuple(self._record[place] for place in places[:limit])
        return AuditPage(page, str(places[limit - 1]) if len(places) > limit else None)

    async def close(self) -> None:
        """Does nothing: what is kept stays readable."""

    async def _reading(self, exam_id: str) -> Reading | None:
        exam = await self._results.exam(exam_id)
        if exam is None:
            return None
        held = self._held.get(exam_id, _Held())
        holds = held.reader is not None and held.until > self._clock()
        state: State = "claimed" if holds else "open"
        if held.verdict is not None and held.verdict.pictures == exam.version:
            state = "decided"
        return Reading(
            exam_id=exam_id,
            programme=exam.programme,
            version=Version(exam.version, exam.decided, held.version),
            state=state,
            decision=exam.decision,
            reader=held.reader if holds else None,
            since=held.since if holds else None,
            until=held.until if holds else None,
            verdict=held.verdict,
        )

    async def _change(self, reading: Reading, actor: Actor, deed: str, detail: str = "", **changes: Any) -> Answer:
        held = self._held.get(reading.exam_id, _Held())
        self._held[reading.exam_id] = replace(held, version=held.version + 1, **changes)
        told = {"exam_id": reading.exam_id, "programme": reading.programme, "detail": detail}
        self._record.append(Entry(actor=actor, action=f"exam.{deed}", at=self._clock(), **told))
        return Answer("done", await self._reading(reading.exam_id))
