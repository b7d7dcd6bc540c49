"""Each part of the line on its own: the very objects a worker is wired from, one after the other, the others idle.

    EYESTREAM_SETTINGS=... python benchmarks/parts.py SECONDS

Prints, as JSON, for each part the moments at which pictures were done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import numpy as np

from eyestream import records, settings
from eyestream.apps.wiring import Wired, connect
from eyestream.judging import judge
from eyestream.records import Capture, Message, Screening
from eyestream.telemetry import Metrics

KEPT = LEAST = 64


async def consume(wired: Wired, seconds: float) -> tuple[list[float], list[Message]]:
    """Pictures off Kafka, acknowledged at once; also the first of them."""
    stamps: list[float] = []
    kept: list[Message] = []
    broker = wired.parts.broker

    async def read() -> None:
        async for message in broker.messages():
            stamps.append(time.time())
            if len(kept) < KEPT:
                kept.append(message)
            await broker.acknowledge(message.position)
            if stamps[-1] - stamps[0] > seconds:
                break

    try:
        async with asyncio.timeout(seconds + 10):  # where fewer are waiting than that
            await read()
    except TimeoutError:
        pass
    await broker.close()
    return stamps, kept


async def repeated(step: Callable[[], Awaitable[int]], *, at_once: int, seconds: float) -> list[float]:
    """When pictures were done, with some steps always under way; a step says how many it did, 0 to end."""
    stamps: list[float] = []
    began = time.time()

    def going() -> bool:
        spent_s = time.time() - began
        return spent_s < seconds or (len(stamps) < LEAST and spent_s < 4 * seconds)

    async def work() -> None:
        while going() and (done := await step()):
            stamps.extend([time.time()] * done)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return stamps


def screenings(wired: Wired, captures: list[Capture], count: int) -> Iterator[list[Screening]]:
    """Batches of results of pictures that differ, four to an exam."""
    size, spec = wired.pace.max_batch, wired.parts.encoder.spec
    batch = (captures * size)[:size]
    vectors = np.random.default_rng(0).standard_normal((size, spec.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    preprocessing = wired.parts.intake.preprocessing.digest
    judged = judge(
        batch,
        vectors,
        banks=wired.parts.banks(),
        encoder=spec.digest,
        preprocessing=preprocessing,
        encoded=records.now(),
    )
    for start in range(0, count, size):
        results = []
        for offset, one in enumerate(judged):
            number = start + offset
            names = {"image_id": f"image-{number}", "exam_id": f"alone-{number // 4}"}
            if isinstance(one, Screening):
                results.append(replace(one, meta=one.meta.model_copy(update=names)))
        yield results


async def main() -> None:
    """Measure one after the other."""
    seconds = float(sys.argv[1])
    wired = await connect(settings.load(), Metrics())
    parts, pace, loop = wired.parts, wired.pace, asyncio.get_running_loop()
    told: dict[str, list[float]] = {}
    told["kafka"], messages = await consume(wired, seconds)
    captures: list[Capture] = []
    turn = iter(range(10**9))

    async def decode() -> int:
        message = messages[next(turn) % len(messages)]
        capture = await loop.run_in_executor(parts.executor, parts.intake.capture, message, parts.banks())
        if len(captures) < KEPT:
            captures.append(capture)
        return 1

    told["decode"] = await repeated(decode, at_once=pace.decoders, seconds=seconds)

    async def encode() -> int:
        start = next(turn) % max(1, len(captures) - pace.max_batch)
        pixels = np.stack([capture.pixels for capture in captures[start : start + pace.max_batch]])
        return len(await parts.patience.until(lambda: parts.encoder.encode(pixels)))

    told["triton"] = await repeated(encode, at_once=pace.depth, seconds=seconds)
    ready = list(screenings(wired, captures, int(4000 * seconds)))

    async def store() -> int:
        if not ready:
            return 0
        batch = ready.pop()
        return len(await parts.patience.until(lambda: parts.sink.store(batch)))

    told["redis"] = await repeated(store, at_once=pace.depth, seconds=seconds)
    await parts.encoder.close()
    await parts.sink.close()
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main())
