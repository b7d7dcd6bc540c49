"""A clock that stands still until a test steps it."""

from __future__ import annotations

import asyncio


class SteppingClock:
    """Implements `eyestream.batching.Clock`; `advance` is the only thing that makes time pass."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def time(self) -> float:
        """Seconds stepped so far."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Returns once `advance` has passed that much time."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._sleepers.append((self._now + seconds, woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Pass time, wake who is due, and let everything that can run now run."""
        await settle()
        self._now += seconds
        for due, woken in self._sleepers:
            if due <= self._now:
                woken.set()
        self._sleepers = [(due, woken) for due, woken in self._sleepers if due > self._now]
        await settle()


async def settle(rounds: int = 50) -> None:
    """Let every task that needs no more than `rounds` turns of the event loop take them."""
    for _ in range(rounds):
        await asyncio.sleep(0)
