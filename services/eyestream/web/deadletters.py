"""The dead letters of a line's topic, looked at and put back in a thread of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import DeadLetter
from eyestream.brokers.redrive import DeadLetterIndex, Replay, replay

_FRESH_S: Final = 2.0
"""How old an answer may be: many who look at once make one look at Kafka."""


class LineLetters:
    """The `Letters` of a line: an index that each look brings up to date."""

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._index = DeadLetterIndex(options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dead-letters")
        self._looking = asyncio.Lock()
        self._known: Sequence[DeadLetter] = ()
        self._looked = float("-inf")

    async def list(self) -> Sequence[DeadLetter]:
        """See `Letters.list`."""
        async with self._looking:
            if time.monotonic() - self._looked >= _FRESH_S:
                self._known = await asyncio.get_running_loop().run_in_executor(self._thread, self._index.look)
                self._looked = time.monotonic()
            return self._known

    async def redrive(self, letters: Sequence[DeadLetter], *, again: bool, dry_run: bool) -> Sequence[Replay]:
        """See `Letters.redrive`."""

        def put_back() -> Sequence[Replay]:
            return [*replay(self._options, letters, again=again, dry_run=dry_run)]

        async with self._looking:  # a letter must not be put back twice because two asked at once
            current = {letter.position: letter for letter in await self._look()}
            letters = [current.get(letter.position, letter) for letter in letters]
            done = await asyncio.get_running_loop().run_in_executor(self._thread, put_back)
            self._looked = float("-inf")
            return done

    async def close(self) -> None:
        """End the thread once it is done. Idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> Sequence[DeadLetter]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._index.look)
