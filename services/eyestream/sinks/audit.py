"""The record of who saw and decided what: its entries, and the seam they are kept behind. Knows no store.

Entries are added and read, never changed; what has outlived the time it is kept for goes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

ACTIONS: Final = (
    "exam.viewed",
    "exam.exported",
    "exam.claimed",
    "exam.released",
    "exam.decided",
    "exam.reopened",
    "picture.viewed",
    "picture.explained",
    "picture.scored",
    "worklist.viewed",
    "dead-letters.viewed",
    "dead-letters.redriven",
    "audit.viewed",
)
"""All that is recorded: a closed list, so that a report may count on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """On whose behalf a request is made: `who` as the issuer or the key file names them, `how` they proved it."""

    who: str
    how: str
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One deed. `detail` is for a person and holds no patient's data; `at` is seconds since 1970."""

    actor: Actor
    action: str
    at: float
    exam_id: str = ""
    image_id: str = ""
    programme: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first; `cursor` asks for older ones, None at the end."""

    entries: tuple[Entry, ...]
    cursor: str | None


class Audit(Protocol):
    """Where entries are kept. Raises Unavailable."""

    async def record(self, entries: Sequence[Entry]) -> None:
        """Keep these entries. Returns once the store has them: what is not recorded must not be shown."""
        ...

    async def entries(self, *, since: float, until: float, limit: int = 100, cursor: str | None = None) -> AuditPage:
        """Entries of that time, newest first. Raises ValueError for a cursor that is none of ours."""
        ...
