"""The seam where people's readings are kept: who holds an exam, what they decided. Knows no store, judges no eye."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

from eyestream.records import Decision, Screening
from eyestream.sinks.audit import Actor, Entry
from eyestream.sinks.base import Exam

_VERSION: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})")

State = Literal["open", "claimed", "decided"]
"""`open`: nobody holds it; `claimed`: a reader does; `decided`: a reader has, and no picture came since."""

Fate = Literal["done", "unknown", "stale", "taken", "decided", "not-claimed", "not-decided"]
"""What became of a call; all but `done` changed nothing."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of an exam a person saw.

    How often its `pictures` changed, which of those the line `decided` on, and how often its `reading` changed.
    """

    pictures: int
    decided: int
    reading: int

    def __str__(self) -> str:
        return f"{self.pictures}.{self.decided}.{self.reading}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The version that was written so; raises ValueError for anything else."""
        match = _VERSION.fullmatch(text)
        if match is None:
            raise ValueError("not a version of an exam")
        return cls(*map(int, match.groups()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reader decided: `pictures` counts the changes of the exam that they had seen, `at` is since 1970."""

    outcome: Literal["refer", "recapture", "clear"]
    urgency: str
    comment: str
    by: str
    at: float
    pictures: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How an exam stands with its readers. `decision` is the line's own.

    `reader`, `since` and `until` tell of the claim while there is one. A `verdict` from before the latest picture is
    still shown, though the exam is open again.
    """

    exam_id: str
    programme: str
    version: Version
    state: State
    decision: Decision | None = None
    reader: str | None = None
    since: float | None = None
    until: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call, and how the exam stands now; no reading when nothing is known of it."""

    fate: Fate
    reading: Reading | None


@dataclass(frozen=True, slots=True)
class Read:
    """An event: a reader `claimed`, `released`, `decided` or `reopened` an exam. `at` is seconds since 1970."""

    exam_id: str
    programme: str
    deed: str
    by: str
    at: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that is kept of one exam; `results` are every result of its pictures, oldest first."""

    exam: Exam
    reading: Reading
    results: list[Screening]

    @property
    def pseudonyms(self) -> frozenset[str]:
        """Those that its pictures carry: one, unless pictures of several patients were given one exam's id."""
        metas = (*(result.meta for result in self.results), *(note.meta for note in self.exam.unreadable))
        return frozenset(meta.subject_id for meta in metas)


class Dossiers(Protocol):
    """Exams whole, as a reader needs them. Raises Unavailable."""

    async def dossier(self, exam_id: str, entry: Entry) -> Dossier | None:
        """The exam, once the look at it is on record; None when nothing is known of it, which is recorded as well."""
        ...


class Readings(Protocol):
    """Claims and verdicts, each changed atomically together with its entry in the audit record. Raises Unavailable."""

    async def readings(self, exam_ids: Sequence[str]) -> list[Reading | None]:
        """How each exam stands, in order; None where nothing is known of it."""
        ...

    async def claim(self, exam_id: str, actor: Actor, *, for_s: float, seen: Version | None = None) -> Answer:
        """Hold the exam for that long, or hold it longer.

        `taken` while somebody else holds it, `decided` when a reader has decided it, `stale` when it is not as `seen`.
        A claim whose time is over is nobody's. Renewing a claim changes neither the version nor the audit record.
        """
        ...

    async def release(self, exam_id: str, actor: Actor) -> Answer:
        """Hand the exam back undecided. `taken` while somebody else holds it; `done` when nobody does."""
        ...

    async def decide(
        self, exam_id: str, actor: Actor, *, outcome: str, urgency: str, comment: str, seen: Version
    ) -> Answer:
        """Decide the exam and hand it back: it leaves the worklist, until a picture comes.

        Only by whoever claimed it last: `taken` or `not-claimed` otherwise, `stale` when it is not as `seen`. Being
        late does no harm as long as nobody else claimed it and nothing changed.
        """
        ...

    async def reopen(self, exam_id: str, actor: Actor, *, seen: Version) -> Answer:
        """Take a verdict back: the exam is open, and on the worklist if the line put it there. Or `not-decided`."""
        ...

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        ...
