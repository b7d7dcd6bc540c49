"""One picture at a time through the line's own intake, encoder and head. Stores nothing, sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from eyestream import records
from eyestream.banks.shelf import Bank, Shelf
from eyestream.decoding import Limits, Preprocessing
from eyestream.encoders.base import Encoder
from eyestream.errors import Rejected, Unavailable
from eyestream.intake import Intake
from eyestream.judging import judge
from eyestream.records import (
    HEADER_CONTENT_TYPE,
    HEADER_META,
    ImageMeta,
    Message,
    Position,
    Screening,
)

_NOWHERE = Position("on-demand", 0, 0)


@dataclass(slots=True)
class _Engine:
    """What belongs to one connection to an encoder."""

    encoder: Encoder
    intake: Intake
    preprocessing: Preprocessing
    shelf: Shelf
    banks: dict[str, Bank]


class LineScorer:
    """The `Scorer` of a line. Connects when first asked; follows the shelf from then on.

    `at_once` bounds the pictures in work: beyond twice as many, a caller is told to come again.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Encoder]],
        shelf: Path,
        *,
        limits: Limits,
        at_once: int = 2,
    ) -> None:
        self._connect = connect
        self._shelf = shelf
        self._limits = limits
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="score")
        self._room = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._most_waiting = 2 * at_once
        self._engine: _Engine | None = None
        self._connecting = asyncio.Lock()

    async def score(self, value: bytes, meta: ImageMeta, *, content_type: str | None) -> Screening:
        """See `Scorer.score`."""
        if self._waiting >= self._most_waiting:
            raise Unavailable("scoring", "too many pictures at once")
        self._waiting += 1
        try:
            async with self._room:
                return await self._score(value, meta, content_type)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Drop the connection. Idempotent; the next call connects anew."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.encoder.close()

    async def _score(self, value: bytes, meta: ImageMeta, content_type: str | None) -> Screening:
        engine = await self._connected()
        loop = asyncio.get_running_loop()
        changed = await loop.run_in_executor(self._threads, engine.shelf.poll)
        engine.banks = {**engine.banks, **changed}
        message = _message(value, meta, content_type)
        capture = await loop.run_in_executor(self._threads, engine.intake.capture, message, engine.banks)
        embeddings = await engine.encoder.encode(capture.pixels[None])
        [result] = judge(
            [capture],
            embeddings,
            banks=engine.banks,
            encoder=engine.encoder.spec.digest,
            preprocessing=engine.preprocessing.digest,
            encoded=records.now(),
        )
        if isinstance(result, Rejected):
            raise result
        return result

    async def _connected(self) -> _Engine:
        async with self._connecting:
            if self._engine is None:
                encoder = await self._connect()
                spec, shelf = encoder.spec, Shelf(self._shelf)
                spec.require_pictures()
                preprocessing = Preprocessing.from_json(spec.preprocessing)
                banks = await asyncio.to_thread(shelf.open, spec.digest, preprocessing.digest)
                intake = Intake(preprocessing=preprocessing, height=spec.height, width=spec.width, limits=self._limits)
                self._engine = _Engine(encoder, intake, preprocessing, shelf, banks)
            return self._engine


def _message(value: bytes, meta: ImageMeta, content_type: str | None) -> Message:
    """As a device would send it, so that it takes the line's own way in."""
    headers = {HEADER_META: meta.to_header()}
    if content_type is not None:
        headers[HEADER_CONTENT_TYPE] = content_type.encode("utf-8", "replace")
    at = records.now()
    return Message(value=value, headers=headers, position=_NOWHERE, produced=at, fetched=at)
