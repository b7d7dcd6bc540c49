"""A child program: reads results as a reader would, says when each picture's could be read, and whether it is its own.

Follows the sink's feed, and asks for an exam when the feed names it: a result counts from the moment it was read.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from eyestream import records
from eyestream import settings as settings_module
from eyestream.banks.head import SUFFIX, ScoreHead
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Unavailable
from eyestream.records import Digest, Screening, Vectors
from eyestream.scoring import score
from eyestream.settings import Settings
from eyestream.sinks.base import DEFAULT_TOLERANCE, Results
from eyestream.sinks.feed import Cursor, Feed
from eyestream.sinks.redis_feed import RedisFeed
from eyestream.sinks.redis_reader import ResultsReader
from eyestream_load import lines, photographs
from eyestream_load.lines import SITE
from eyestream_load.scenario import Scenario

POLL_S: Final = 0.05
"""How often the feed is looked at: a time of reading is at most so much too long."""
LOOK_AGAIN_S: Final = 2.0
"""Exams that wait are asked for so often though nothing was heard of them."""
_REMEMBERED_S: Final = 60.0
_AT_ONCE: Final = 32
_CONFLICTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Expected:
    """A picture that was sent, and which photograph it shows."""

    exam: str
    sha256: str
    photograph: int


class Alone:
    """What each photograph says when it is encoded with no other beside it, under any bank of the shelf."""

    def __init__(self, shelf: Path, embeddings: Vectors) -> None:
        self._shelf, self._embeddings = shelf, embeddings
        self._known: dict[tuple[Digest, int], dict[str, float]] = {}

    def fault(self, result: Screening, expected: Expected) -> str | None:
        """Why the result cannot be this picture's; None when it is."""
        if result.meta.sha256 != expected.sha256:
            return "has the result of another file"
        alone = self._probabilities(result.identity.bank, expected.photograph)
        told = {finding.condition: finding.probability for finding in (*result.findings, *result.quality)}
        if alone.keys() != told.keys():
            return "was asked for other conditions than its bank has"
        worst = max(told, key=lambda name: abs(told[name] - alone[name]))
        if abs(told[worst] - alone[worst]) > DEFAULT_TOLERANCE:
            return f"says {told[worst]:.3f} for {worst}, and {alone[worst]:.3f} when it is alone"
        return None

    def _probabilities(self, bank: Digest, photograph: int) -> dict[str, float]:
        if (bank, photograph) not in self._known:
            head = ScoreHead.load(self._shelf / "heads" / f"{bank}{SUFFIX}")
            for number, one in enumerate(score(head, self._embeddings)):
                findings = (*one.findings, *one.quality)
                self._known[bank, number] = {finding.condition: finding.probability for finding in findings}
        return self._known[bank, photograph]


class Watcher:
    """Pictures that are waited for, by exam. `tell` hears what becomes of them."""

    def __init__(
        self,
        reader: Results,
        feed: Feed,
        alone: Alone,
        *,
        programme: str,
        tell: Callable[..., None] = lines.tell,
        poll_s: float = POLL_S,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._reader, self._feed, self._alone, self._programme = reader, feed, alone, programme
        self._tell, self._poll_s, self._look_again_s = tell, poll_s, look_again_s
        self._cursor = Cursor(())
        self._waiting: defaultdict[str, dict[str, Expected]] = defaultdict(dict)
        self._heard: dict[str, float] = {}
        self._ask: set[str] = set()
        self._looked = 0.0
        self._conflicts: set[str] = set()

    def expect(self, image: str, expected: Expected) -> None:
        """Wait for this picture's result. What came before we were told of it is asked for at once."""
        self._waiting[expected.exam][image] = expected
        if expected.exam in self._heard:
            self._ask.add(expected.exam)

    async def follow(self) -> None:
        """For ever; whatever is away is asked again."""
        await self.begin()
        while True:
            began = records.now()
            try:
                await self.look()
            except Unavailable as error:
                self._tell("away", why=str(error))
                await asyncio.sleep(1.0)
            await asyncio.sleep(max(0.0, self._poll_s - (records.now() - began)))

    async def begin(self) -> None:
        """Take the feed's end for the place to begin at, and tell `ready`."""
        self._cursor = await self._feed.end()
        self._conflicts = await self._conflicting()
        self._tell("ready")

    async def look(self) -> None:
        """Read what the feed names since the last look, and tell of it. Raises Unavailable; nothing is then missed."""
        began = records.now()
        for happening in await self._feed.after(self._cursor):
            self._cursor = self._cursor.past(happening)
            self._hear(happening.event.exam_id, began)
        await self._look_again(began)
        await self._read_all()

    def _hear(self, exam: str, at: float) -> None:
        self._heard[exam] = at
        if exam in self._waiting:
            self._ask.add(exam)

    async def _look_again(self, at: float) -> None:
        if at - self._looked < self._look_again_s:
            return
        self._looked = at
        self._ask.update(list(self._waiting)[:_AT_ONCE])  # those that wait longest
        for exam in [exam for exam, heard in self._heard.items() if at - heard > _REMEMBERED_S]:
            del self._heard[exam]
        for image in await self._conflicting() - self._conflicts:
            self._conflicts.add(image)
            self._tell("conflict", image=image)

    async def _conflicting(self) -> set[str]:
        """Pictures of cameras like ours that were judged twice and differently."""
        found = await self._reader.conflicts(self._programme, limit=_CONFLICTS)
        return {one.meta.image_id for one in found if one.meta.site_id.startswith(SITE)}

    async def _read_all(self) -> None:
        while self._ask:
            exams = [self._ask.pop() for _ in range(min(_AT_ONCE, len(self._ask)))]
            try:
                await asyncio.gather(*(self._read(exam) for exam in exams))
            except Unavailable:
                self._ask.update(exams)
                raise

    async def _read(self, exam: str) -> None:
        results = await self._reader.screenings(exam)
        at = records.now()
        waiting = self._waiting.get(exam, {})
        for result in results:
            expected = waiting.pop(result.meta.image_id, None)
            if expected is None:
                continue
            timings: Mapping[str, float | None] = asdict(result.timings)
            fault = self._alone.fault(result, expected)
            bank = result.identity.bank
            self._tell("readable", image=result.meta.image_id, at=at, timings=timings, bank=bank, contradicted=fault)
        if waiting and (known := await self._reader.exam(exam)) is not None:
            for note in known.unreadable:
                if waiting.pop(note.meta.image_id, None) is not None:
                    self._tell("refused", image=note.meta.image_id, why=note.reason)
        if exam in self._waiting and not waiting:
            del self._waiting[exam]


async def _embeddings(settings: Settings, scenario: Scenario, folder: Path) -> Vectors:
    files = await asyncio.to_thread(photographs.draw, folder / "photographs", scenario)
    triton = settings.triton
    encoder = await TritonEncoder.connect(triton.address, triton.model, timeout_s=max(30.0, triton.timeout_s))
    try:
        pixels = photographs.decoded(files, encoder.spec, programme=scenario.programme)
        return np.concatenate([await encoder.encode(one[None]) for one in pixels])
    finally:
        await encoder.close()


def _ended(following: asyncio.Task[None]) -> None:
    """A watcher that no longer follows would call everything lost."""
    if not following.cancelled() and (error := following.exception()) is not None:
        lines.tell("failed", why=f"results cannot be followed: {type(error).__name__}: {error}")


async def _program() -> None:
    told = lines.read(await asyncio.to_thread(sys.stdin.readline))
    scenario, folder = Scenario.model_validate(told["scenario"]), Path(told["folder"])
    settings = settings_module.load()
    url, cluster = settings.redis.url.get_secret_value(), settings.redis.cluster
    reader, feed = ResultsReader(url, cluster=cluster), RedisFeed(url, cluster=cluster)
    try:
        alone = Alone(settings.banks.shelf, await _embeddings(settings, scenario, folder))
        watcher = Watcher(reader, feed, alone, programme=scenario.programme)
        following = asyncio.create_task(watcher.follow())
        following.add_done_callback(_ended)
        while line := await asyncio.to_thread(sys.stdin.readline):
            sent = lines.read(line)
            watcher.expect(sent["image"], Expected(sent["exam"], sent["sha256"], sent["photograph"]))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    finally:
        await reader.close()
        await feed.close()


def main() -> None:
    """Run it."""
    lines.run(lambda: asyncio.run(_program()))


if __name__ == "__main__":
    main()
