"""How much one caller may ask for: requests in a time, bytes in a request. Knows no route and no user."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SWEEP_AT: Final = 10_000


class Buckets:
    """A token bucket for each name: `burst` at once, `rate` a second in the long run. Of this process alone."""

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    @property
    def known(self) -> int:
        """How many names are remembered; those whose bucket is full again need not be."""
        return len(self._levels)

    def take(self, name: str) -> float:
        """Take one token; 0 when there was one, else the seconds until there is."""
        at = self._clock()
        level, since = self._levels.get(name, (float(self._burst), at))
        # A clock that was put back takes nothing away, or everybody would wait for as long as that.
        level = min(self._burst, level + max(0.0, at - since) * self._rate)
        if level < 1:
            self._levels[name] = level, at
            return (1 - level) / self._rate
        self._levels[name] = level - 1, at
        if len(self._levels) > _SWEEP_AT:
            self._sweep(at)
        return 0.0

    def _sweep(self, at: float) -> None:
        """Forget the full ones: a new one is full too."""
        self._levels = {
            name: (level, since)
            for name, (level, since) in self._levels.items()
            if level + (at - since) * self._rate < self._burst
        }


def whole_seconds(seconds: float) -> str:
    """As the header Retry-After wants it."""
    return str(max(1, math.ceil(seconds)))


class TooLarge(HTTPException):
    """The body is larger than the route takes; FastAPI lets this kind of error through while it reads a body."""

    def __init__(self) -> None:
        super().__init__(413)


class BodyLimit:
    """Refuses bodies beyond a limit as they arrive, whatever their Content-Length says.

    `large` are paths that take `large_bytes`; all others take `small_bytes`. `refuse` answers in the route's stead
    where the length alone says that it is too much.
    """

    def __init__(
        self, app: ASGIApp, *, small_bytes: int, large_bytes: int, large: frozenset[str], refuse: ASGIApp
    ) -> None:
        self._app = app
        self._small, self._large_bytes, self._large = small_bytes, large_bytes, large
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._large_bytes if scope["path"] in self._large else self._small
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told[:20]) > limit:
            await self._refuse(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise TooLarge
            return message

        await self._app(scope, counted, send)
