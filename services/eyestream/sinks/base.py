"""The seam where results go. Nothing here knows Redis.

To add a sink, write a class with these methods and run `eyestream.testing.contracts_sink.SinkContract` on it;
docs/howto/add-a-sink.md walks through one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eyestream.records import Decision, Finding, Identity, Outcome, Picture, Screening, Unreadable

Decide = Callable[[str, str, Sequence[Picture]], Decision]
"""(programme, exam_id, every picture of the exam known so far) -> the exam's decision; `triage.decide` behind it."""

Retention = Callable[[str], float]
"""programme -> seconds for which its results are kept."""

WAITING = frozenset({"refer", "recapture", "incomplete"})
"""Outcomes that put an exam on the worklist; an incomplete one leaves it when its other pictures come."""

DEFAULT_TOLERANCE = 0.02
"""How far a probability may move between two runs of one picture and still be the same result: FP16 engines differ in
the last bits between batch sizes, and a redelivered picture rarely meets the same batch again."""


def same_result(known: Screening, new: Screening, tolerance: float) -> bool:
    """Whether two results under one identity are one: the same file of the same eye, judged alike but for noise."""
    metas = known.meta, new.meta
    shown, shows = ((meta.sha256, meta.subject_id, meta.laterality, meta.field) for meta in metas)
    return (
        shown == shows
        and _alike(known.findings, new.findings, tolerance)
        and _alike(known.quality, new.quality, tolerance)
    )


def _alike(known: Sequence[Finding], new: Sequence[Finding], tolerance: float) -> bool:
    before = {finding.condition: finding.probability for finding in known}
    after = {finding.condition: finding.probability for finding in new}
    return before.keys() == after.keys() and all(abs(before[name] - after[name]) <= tolerance for name in before)


@dataclass(frozen=True, slots=True)
class Exam:
    """All that is known of one exam.

    `version` counts the changes to its pictures; `decided` is the version that `decision` was made from. `since` is
    when its earliest picture was taken, seconds since 1970. `pictures` are in order of image_id and hold the unreadable
    ones as well; `unreadable` says more of those.
    """

    exam_id: str
    programme: str
    version: int
    decided: int
    since: float
    pictures: tuple[Picture, ...]
    decision: Decision | None
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def standing(self) -> Decision | None:
        """The decision on all its pictures; None while one that came since is not decided on."""
        return self.decision if self.decided == self.version else None


@dataclass(frozen=True, slots=True)
class WorklistEntry:
    """One exam that waits for a person. Holds nothing about the eyes: whoever may see those asks for the exam."""

    exam_id: str
    rank: int
    since: float


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """Some of a worklist, most urgent first and longest waiting first; `cursor` asks for the rest, None at the end."""

    entries: tuple[WorklistEntry, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Decided:
    """An event: an exam was decided, or decided anew. `at` is seconds since 1970."""

    exam_id: str
    programme: str
    outcome: str
    urgency: str
    rank: int
    version: int
    at: float


class Sink(Protocol):
    """Where results are kept, once each."""

    async def store(self, screenings: Sequence[Screening]) -> list[Outcome]:
        """Keep these results; one outcome for each, in order.

        Durable, as far as the sink promises durability, when it returns. The first result under an image and identity
        stands: an equal one again is `duplicate` and changes nothing but a counter; a different one is `conflict`,
        counted and never written over. All that belongs to one exam changes atomically, its decision included.
        Raises Unavailable when it may not have been stored: safe to repeat, any number of times.
        """
        ...

    async def note_unreadable(self, pictures: Sequence[Unreadable]) -> None:
        """Let each exam show that a picture of it could not be read.

        Idempotent. A result for the picture, earlier or later, wins over the note.
        """
        ...

    async def check(self) -> None:
        """Raises Unavailable when a store would fail now."""
        ...

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        ...


class Results(Protocol):
    """The other side of a sink: reads what it keeps and changes nothing. Raises Unavailable."""

    async def exam(self, exam_id: str) -> Exam | None:
        """The exam as of its last picture, or None when nothing is known of it."""
        ...

    async def screening(self, exam_id: str, image_id: str, identity: Identity) -> Screening | None:
        """One picture's result as it was stored, to the last digit."""
        ...

    async def screenings(self, exam_id: str) -> list[Screening]:
        """Every result of the exam's pictures, whatever they were judged with; oldest first."""
        ...

    async def worklist(self, programme: str, *, limit: int = 50, cursor: str | None = None) -> WorklistPage:
        """Exams that are not clear: larger rank first, and within a rank the longest waiting first."""
        ...

    async def counts(self, programme: str, day: dt.date) -> Mapping[str, int]:
        """What happened on a day (UTC).

        `stored`, `duplicate`, `conflict` and `unreadable` count pictures by the day they came; `refer`, `clear`,
        `recapture` and `incomplete` count the exams begun that day by how they stand now.
        """
        ...

    async def conflicts(self, programme: str, *, limit: int = 50) -> list[Screening]:
        """The latest results that contradicted a stored one, newest first. Bounded, unlike the counter."""
        ...

    def tail(self, *, from_start: bool = False) -> AsyncIterator[Decided]:
        """Decisions as they are made, without end, in order within an exam; `from_start`: and those still kept."""
        ...

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        ...
