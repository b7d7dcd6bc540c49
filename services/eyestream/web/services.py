"""What the application works with (`apps.web_wiring` makes it); each part behind the least it must be able to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eyestream.banks.shelf import Bank
from eyestream.brokers.deadletters import DeadLetter
from eyestream.brokers.redrive import Replay
from eyestream.records import ImageMeta, Screening, now
from eyestream.sinks.audit import Audit
from eyestream.sinks.base import Results
from eyestream.sinks.feed import Feed
from eyestream.sinks.readings import Dossiers, Readings
from eyestream.telemetry import WebMetrics
from eyestream.web.explainer import Explanation
from eyestream.web.principals import Principal


class Gatekeeper(Protocol):
    """Tells whom a request comes from."""

    async def principal(self, bearer: str | None) -> Principal:
        """Raises Problem when they may not ask."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A picture's own bytes, and the type that they really have."""

    value: bytes
    content_type: str
    suffix: str


class Pictures(Protocol):
    """Where pictures are while they are kept."""

    async def file(self, screening: Screening) -> File | None:
        """The picture that was screened, checked against its sha256; None when it is kept no longer.

        Raises Unavailable when the place is away.
        """
        ...


class Scorer(Protocol):
    """The line's own way from a file to a result, for one picture at a time."""

    async def score(self, value: bytes, meta: ImageMeta, *, content_type: str | None) -> Screening:
        """The result, stored nowhere. Raises Rejected, or Unavailable, also when too many ask at once."""
        ...


class Explainer(Protocol):
    """The line's own engine and head, asked what in a picture they go by."""

    async def seen(self, value: bytes, meta: ImageMeta, *, side: int, content_type: str | None) -> bytes:
        """A JPEG of the picture in the frame that the engine sees, at least `side` pixels a side.

        Raises Rejected or Unavailable.
        """
        ...

    async def explain(self, value: bytes, meta: ImageMeta, *, content_type: str | None) -> Explanation:
        """What each place speaks for each condition. Raises Rejected, or Unavailable, also when too many ask."""
        ...


class Letters(Protocol):
    """The dead letters."""

    async def list(self) -> Sequence[DeadLetter]:
        """All of them, oldest failure first, as of a moment ago. Raises Unavailable."""
        ...

    async def redrive(self, letters: Sequence[DeadLetter], *, again: bool, dry_run: bool) -> Sequence[Replay]:
        """Put them back; see `brokers.redrive.replay`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The rules of the house."""

    claim_s: float = 900.0
    max_body_bytes: int = 64 * 1024
    max_picture_bytes: int = 64 * 2**20
    max_streams: int = 200
    stream_s: float = 3600.0
    poll_s: float = 0.5
    counts_s: float = 2.0
    heartbeat_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All of it. `banks` gives the banks in service by programme, without blocking.

    `waiting` counts the pictures that the workers have not finished; it may raise Unavailable.
    """

    results: Results
    dossiers: Dossiers
    readings: Readings
    audit: Audit
    feed: Feed
    pictures: Pictures
    scorer: Scorer
    explainer: Explainer
    letters: Letters
    waiting: Callable[[], Awaitable[int]]
    banks: Callable[[], Mapping[str, Bank]]
    guard: Gatekeeper
    metrics: WebMetrics
    house: House = field(default_factory=House)
    clock: Callable[[], float] = now
