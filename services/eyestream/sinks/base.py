"""The seam where results go. Nothing here knows Redis.

To add a sink, write a class with these methods and run `eyestream.testing.contracts.SinkContract` on it;
docs/howto/add-a-sink.md walks through one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from eyestream.records import Decision, Outcome, Picture, Screening, Unreadable

Decide = Callable[[str, str, Sequence[Picture]], Decision]
"""(programme, exam_id, every picture of the exam known so far) -> the exam's decision; `triage.decide` behind it."""


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
        """Let each exam show that a picture of it could not be read. Idempotent; a later result for it clears the note."""
        ...

    async def check(self) -> None:
        """Raises Unavailable when a store would fail now."""
        ...

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        ...
