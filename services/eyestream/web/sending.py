"""Files on their way out: so many at once and none for ever, since each lies whole in memory until it has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from eyestream.web.engine import Room
from eyestream.web.services import File

_CHUNK: Final = 256 * 1024
_AT_ONCE: Final = 8
_WAITING: Final = 24
_LONGEST_S: Final = 300.0
"""64 MiB in this time are 220 kB a second."""


class Sender:
    """Sends files to clients, however slowly these take them. Of one event loop."""

    def __init__(self) -> None:
        self._room = Room("sending of pictures", at_once=_AT_ONCE, waiting=_WAITING)

    async def answer(self, get: Callable[[], Awaitable[File]], headers: Callable[[File], Mapping[str, str]]) -> Parcel:
        """The answer with the file that `get` gives, asked for once there is room for it.

        Raises Unavailable when too many wait already, and whatever `get` raises.
        """
        async with AsyncExitStack() as room:
            await room.enter_async_context(self._room)
            file = await get()
            return Parcel(file, headers(file), room=room.pop_all())


class Parcel(StreamingResponse):
    """One file as an answer. It leaves the room when the client has it, hung up, or takes nothing any more."""

    def __init__(self, file: File, headers: Mapping[str, str], *, room: AsyncExitStack) -> None:
        length = {"Content-Length": str(len(file.value))}
        super().__init__(_chunks(file.value), headers={**headers, **length}, media_type=file.content_type)
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        async with self._room:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_S):
                    await super().__call__(scope, receive, send)


async def _chunks(value: bytes) -> AsyncIterator[bytes]:
    view = memoryview(value)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])
