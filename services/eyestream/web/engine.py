"""The line's own intake, encoder and banks, for pictures asked about one at a time. Judges nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from eyestream import records
from eyestream.banks.shelf import Bank, Shelf
from eyestream.decoding import Limits, Preprocessing
from eyestream.encoders.base import Encoder
from eyestream.errors import Misconfigured, Unavailable
from eyestream.intake import Intake
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, Capture, ImageMeta, Message, Pixels, Position, Vectors

_NOWHERE: Final = Position("on-demand", 0, 0)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Engine:
    """What belongs to one connection to an encoder."""

    encoder: Encoder
    intake: Intake
    preprocessing: Preprocessing
    shelf: Shelf
    banks: dict[str, Bank]


class EngineRoom:
    """One engine for all who ask. Connects when first asked; follows the shelf from then on."""

    def __init__(
        self, connect: Callable[[], Awaitable[Encoder]], shelf: Path, *, limits: Limits, threads: int = 2
    ) -> None:
        self._connect = connect
        self._shelf = shelf
        self._limits = limits
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="score")
        self._engine: Engine | None = None
        self._connecting = asyncio.Lock()

    async def engine(self) -> Engine:
        """The engine, with the banks that are in service now. Raises Unavailable or Misconfigured."""
        engine = await self._connected()
        changed = await self.run(engine.shelf.poll)
        engine.banks = {**engine.banks, **changed}
        return engine

    async def capture(self, engine: Engine, value: bytes, meta: ImageMeta, content_type: str | None) -> Capture:
        """The file as the line would take it in. Raises Rejected."""
        return await self.run(engine.intake.capture, _message(value, meta, content_type), engine.banks)

    async def encode(self, engine: Engine, pixels: Pixels) -> Vectors:
        """As `Encoder.encode`. It raises Misconfigured once another engine is served; the next to ask gets that one."""
        try:
            return await engine.encoder.encode(pixels)
        except Misconfigured:
            if self._engine is engine:
                self._engine = None  # its connection closes when the last of those who still ask it lets go
            raise

    async def run(self, blocking: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in one of the room's threads, which bound the processor time of everything asked here."""
        return await asyncio.wrap_future(self._threads.submit(blocking, *args, **kwargs))

    async def close(self) -> None:
        """Drop the connection. Idempotent; the next call connects anew."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.encoder.close()

    async def _connected(self) -> Engine:
        async with self._connecting:
            if self._engine is None:
                encoder = await self._connect()
                spec, shelf = encoder.spec, Shelf(self._shelf)
                spec.require_pictures()
                preprocessing = Preprocessing.from_json(spec.preprocessing)
                banks = await asyncio.to_thread(shelf.open, spec.digest, preprocessing.digest)
                intake = Intake(preprocessing=preprocessing, height=spec.height, width=spec.width, limits=self._limits)
                self._engine = Engine(encoder, intake, preprocessing, shelf, banks)
            return self._engine


class Room:
    """Lets `at_once` in; beyond `waiting` more, a caller is told to come again. Of one event loop."""

    def __init__(self, what: str, *, at_once: int, waiting: int) -> None:
        self._what = what
        self._inside = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._here = 0

    async def __aenter__(self) -> None:
        if self._here >= self._most:
            raise Unavailable(self._what, "too many pictures at once")
        self._here += 1
        try:
            await self._inside.acquire()
        except BaseException:
            self._here -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._here -= 1
        self._inside.release()


def _message(value: bytes, meta: ImageMeta, content_type: str | None) -> Message:
    """As a device would send it, so that it takes the line's own way in."""
    headers = {HEADER_META: meta.to_header()}
    if content_type is not None:
        headers[HEADER_CONTENT_TYPE] = content_type.encode("utf-8", "replace")
    at = records.now()
    return Message(value=value, headers=headers, position=_NOWHERE, produced=at, fetched=at)
