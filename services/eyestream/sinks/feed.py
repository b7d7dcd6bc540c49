"""What happens to exams, as one feed that can be resumed at any place. Knows no store.

The feed has several sources, one for each shard and kind of event, and each its own order. A place in the feed is
therefore one place in each of them, and resuming from it misses and repeats nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from eyestream.sinks.base import Decided
from eyestream.sinks.readings import Read

_PLACE: Final = re.compile(r"([0-9a-z]{1,12})(?:-([0-9a-z]{1,12}))?")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

Place = tuple[int, int]
"""Milliseconds since 1970 by the store's clock, and a number within them."""

START: Final[Place] = (0, 0)


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, and where it lies."""

    source: int
    place: Place
    event: Decided | Read


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the feed, written short enough for a header."""

    places: tuple[Place, ...]

    def covers(self, happening: Happening) -> bool:
        """Whether the event lies before this place."""
        return happening.place <= self.places[happening.source]

    def past(self, happening: Happening) -> Cursor:
        """The place right after the event."""
        return Cursor((*self.places[: happening.source], happening.place, *self.places[happening.source + 1 :]))

    def __str__(self) -> str:
        return ".".join(_base36(ms) + (f"-{_base36(seq)}" if seq else "") for ms, seq in self.places)

    @classmethod
    def parse(cls, text: str, *, sources: int) -> Self:
        """The cursor that was written so; raises ValueError for anything else."""
        matches = [_PLACE.fullmatch(part) for part in text.split(".", sources)]
        if len(matches) != sources or not all(matches):
            raise ValueError("not a place in this feed")
        return cls(tuple((int(match[1], 36), int(match[2] or "0", 36)) for match in matches if match))


class Feed(Protocol):
    """Events of every exam. Raises Unavailable."""

    async def sources(self) -> int:
        """How many there are; a cursor has a place in each."""
        ...

    async def end(self) -> Cursor:
        """The place after everything that has happened so far."""
        ...

    async def after(self, cursor: Cursor) -> Sequence[Happening]:
        """Some events after that place, those of one source in order; none when there are none yet."""
        ...

    async def forgotten(self, cursor: Cursor) -> bool:
        """Whether events after that place may be gone already, so that whoever resumes there must look anew."""
        ...


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"
