"""Results per second into Redis: one at a time against batches, and what each grade of durability costs.

`python benchmarks/redis_writes.py [--results 4096]` starts a server of its own on loopback. Client and server share the
machine's cores, so trust ratios within one run, not figures between machines.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from eyestream.records import Screening
from eyestream.sinks import codec
from eyestream.sinks.redis import RedisSink
from eyestream.testing import redis_server
from eyestream.testing.screenings import Judge, a_screening

CONDITIONS = ("referable-dr", "glaucoma", "amd", "cataract", "quality")
ROUNDS = 3


def pictures(count: int) -> list[Screening]:
    """Four to an exam, five conditions each, as a programme sees them."""
    return [
        a_screening(
            f"image-{number}", f"exam-{number // 4}", probability=(number * 37 % 100) / 100, conditions=CONDITIONS
        )
        for number in range(count)
    ]


def in_batches(results: Sequence[Screening], size: int) -> Iterator[Sequence[Screening]]:
    """The last may be smaller."""
    return (results[start : start + size] for start in range(0, len(results), size))


@dataclass(frozen=True, slots=True)
class Cost:
    """What results cost: how many a second, and microseconds of processor time for each, of both ends."""

    rate: float
    client_us: float
    server_us: float


class Meter:
    """Measures between its making and `read`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._server = self._server_s()
        self._client = time.process_time()
        self._began = time.perf_counter()

    def _server_s(self) -> float:
        with redis.Redis.from_url(self._url) as client:
            facts: Any = client.info("cpu")
        return float(facts["used_cpu_user"] + facts["used_cpu_sys"])

    def read(self, done: int) -> Cost:
        """The cost of `done` results."""
        seconds, client = time.perf_counter() - self._began, time.process_time() - self._client
        return Cost(done / seconds, client / done * 1e6, (self._server_s() - self._server) / done * 1e6)


async def stored(url: str, results: Sequence[Screening], *, batch: int, in_flight: int, fsync: bool) -> Cost:
    """Results through the sink."""
    sink = RedisSink(url, Judge(), wait_fsync=fsync)
    await sink.check()
    batches = in_batches(results, batch)
    meter = Meter(url)

    async def work() -> None:
        for each in batches:
            await sink.store(each)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    cost = meter.read(len(results))
    await sink.close()
    return cost


async def plain_set(url: str, results: Sequence[Screening], *, batch: int) -> Cost:
    """What most people would write: SET of the JSON. Last write wins, nothing is counted, no exam is decided."""
    async with Redis.from_url(url) as client:
        meter = Meter(url)
        for each in in_batches(results, batch):
            pipeline = client.pipeline(transaction=False)
            for screening in each:
                pipeline.set(f"{screening.meta.exam_id}:{screening.meta.image_id}", codec.dump_screening(screening))
            await pipeline.execute()
        return meter.read(len(results))


def measured(label: str, appendfsync: str, run: Callable[[str], Awaitable[Cost]]) -> tuple[str, str, Cost]:
    """The median of some rounds, each on an empty server."""
    costs = []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory() as folder,
            redis_server.running(server(), Path(folder, "redis"), appendfsync=appendfsync) as running,
        ):
            costs.append(asyncio.run(awaited(run(running.url))))
    return label, appendfsync, sorted(costs, key=lambda cost: cost.rate)[len(costs) // 2]


async def awaited(cost: Awaitable[Cost]) -> Cost:
    """A coroutine that asyncio.run takes."""
    return await cost


def server() -> Path:
    """The server of this machine, Redis before Valkey."""
    return next(iter(redis_server.binaries().values()))


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=4096, help="results stored in each measurement")
    many = pictures(parser.parse_args().results)
    few = many[: len(many) // 8]

    def sink(batch: int, in_flight: int = 1, *, fsync: bool = False) -> Callable[[str], Awaitable[Cost]]:
        results = few if batch == 1 else many
        return partial(stored, results=results, batch=batch, in_flight=in_flight, fsync=fsync)

    rows = [
        measured("one result a call", "everysec", sink(1)),
        *(measured(f"batches of {batch}", "everysec", sink(batch)) for batch in (8, 32, 64, 256)),
        measured("batches of 64, 4 in flight", "everysec", sink(64, 4)),
        measured("batches of 64, WAITAOF", "everysec", sink(64, fsync=True)),
        measured("batches of 64, WAITAOF, 4 in flight", "everysec", sink(64, 4, fsync=True)),
        measured("batches of 64, WAITAOF", "always", sink(64, fsync=True)),
        measured("batches of 64, WAITAOF, 4 in flight", "always", sink(64, 4, fsync=True)),
        measured("plain SET, one a call", "everysec", partial(plain_set, results=few, batch=1)),
        measured("plain SET, pipelines of 64", "everysec", partial(plain_set, results=many, batch=64)),
    ]
    facts = f"{platform.machine()}, {os.cpu_count()} cores, {server().name}, Python {platform.python_version()}"
    table = Table(title=f"Results stored per second ({facts})", title_justify="left", header_style="bold")
    for name in ("way", "appendfsync", "results/s", "× one a call", "client µs", "server µs"):
        table.add_column(name, justify="left" if name in {"way", "appendfsync"} else "right")
    for label, appendfsync, cost in rows:
        ratio = cost.rate / rows[0][2].rate
        numbers = (f"{cost.rate:,.0f}", f"{ratio:.1f}", f"{cost.client_us:.0f}", f"{cost.server_us:.0f}")
        table.add_row(label, appendfsync, *numbers)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
