"""The line's queues in simulated time: who waits for whom, and for how long. Knows costs, and no part of the line.

The queues are those of `eyestream.pipeline`: partitions, the window, decoding threads, the batch that waits for its
fellows, batches under way, engine instances, the event loop, Redis. Cores are shared in slices, as a scheduler does.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import simpy

from eyestream.planning.costs import Costs, Engine
from eyestream.planning.demand import Demand
from eyestream.planning.layout import Layout

Steps = Generator[Any, Any, None]
_SLICE_S: Final = 0.002
"""How long a thread keeps a core before another that waits gets it."""
_SAMPLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of every picture.

    `latencies`: seconds from coming to being stored, in the order they were stored. `done`: when that was. `busy`: the
    share of its time that each part worked. `waiting`: pictures that had come and were not stored, each second.
    """

    latencies: npt.NDArray[np.float64]
    done: npt.NDArray[np.float64]
    busy: dict[str, float]
    waiting: npt.NDArray[np.int64]

    @property
    def per_s(self) -> float:
        """Pictures stored a second, between the first and the last."""
        span = float(self.done[-1] - self.done[0]) if self.done.size > 1 else 0.0
        return (self.done.size - 1) / span if span else math.nan

    def percentile(self, share: float) -> float:
        """The latency in seconds that `share` percent of the pictures do not exceed."""
        return float(np.percentile(self.latencies, share))


class Cores:
    """Processor time that processes take in turns; `busy_s` is how much was given out.

    With `crowding` everything takes so many times as long.
    """

    def __init__(self, env: simpy.Environment, count: int, *, crowding: float = 1.0) -> None:
        self._env = env
        self._crowding = crowding
        self._cores = simpy.Resource(env, count)
        self.count = count
        self.busy_s = 0.0

    def work(self, seconds: float) -> Steps:
        """So much processor time, by slices where others wait."""
        seconds *= self._crowding
        while seconds > 0:
            with self._cores.request() as core:
                yield core
                part = min(_SLICE_S, seconds)
                yield self._env.timeout(part)
                self.busy_s += part
                seconds -= part


@dataclass(slots=True)
class _Books:
    stored: list[tuple[float, float]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    engine_s: float = 0.0
    loop_s: float = 0.0


class Simulation:
    """One run: pictures come for so long, and it ends when the last of them is stored."""

    def __init__(self, demand: Demand, costs: Costs, engine: Engine, layout: Layout, *, seed: int = 1) -> None:
        self._demand, self._costs, self._engine, self._layout, self._seed = demand, costs, engine, layout, seed
        self._env = simpy.Environment()
        self._books = _Books()
        self._came = 0
        shared = None if layout.shared_cores is None else Cores(self._env, layout.shared_cores, crowding=costs.crowding)
        self._engines = simpy.Resource(self._env, layout.instances)
        self._engine_cores = shared or Cores(self._env, layout.instances)
        self._server_cores = shared
        self._workers = [_Worker(self, shared or Cores(self._env, layout.cores)) for _ in range(layout.workers)]

    def run(self, arrivals: Sequence[float]) -> Outcome:
        """Exams come at these moments, in seconds, ascending. May be called once."""
        self._env.process(self._send(arrivals))
        self._env.process(self._look())
        due = len(arrivals) * self._demand.pictures_per_exam
        while len(self._books.stored) < due:
            self._env.step()
        done, latencies = np.array(sorted(self._books.stored)).T if due else np.empty((2, 0))
        return Outcome(latencies, done, self._busy(), np.array(self._books.waiting))

    def _busy(self) -> dict[str, float]:
        now, layout = self._env.now, self._layout
        cores = {id(worker.cores): worker.cores for worker in self._workers}.values()
        return {
            "engine": self._books.engine_s / (now * layout.instances),
            "workers' cores": sum(each.busy_s for each in cores) / (now * sum(each.count for each in cores)),
            "workers' event loops": self._books.loop_s / (now * layout.workers),
        }

    def _send(self, moments: Sequence[float]) -> Steps:
        random = np.random.default_rng(self._seed + 1)
        for moment in moments:
            yield self._env.timeout(max(0.0, moment - self._env.now))
            # An exam's pictures share a partition, a partition belongs to one worker.
            partition = int(random.integers(self._layout.partitions))
            for _ in range(self._demand.pictures_per_exam):
                self._came += 1
                yield self._workers[partition % self._layout.workers].topic.put(self._env.now)

    def _look(self) -> Steps:
        while True:
            self._books.waiting.append(self._came - len(self._books.stored))
            yield self._env.timeout(_SAMPLE_S)

    def embed(self, pictures: int) -> Steps:
        """A batch through the engine."""
        spent = (self._engine.request_ms + pictures * self._engine.picture_ms) / 1000
        with self._engines.request() as instance:
            yield instance
            self._books.engine_s += spent
            yield from self._engine_cores.work(spent) if self._engine.on_cpu else _wait(self._env, spent)

    def serve(self, seconds: float) -> Steps:
        """Processor time of Kafka or Redis, which is only felt where all share their cores."""
        if self._server_cores is not None:
            yield from self._server_cores.work(seconds)

    def store(self, came: Sequence[float]) -> None:
        """These pictures, which came then, are stored now."""
        self._books.stored.extend((self._env.now, self._env.now - moment) for moment in came)

    def loop_worked(self, seconds: float) -> None:
        """An event loop was busy for so long."""
        self._books.loop_s += seconds

    @property
    def parts(self) -> tuple[simpy.Environment, Demand, Costs, Layout]:
        """What a worker works with."""
        return self._env, self._demand, self._costs, self._layout


class _Worker:
    """A line of its own: one event loop, its decoding threads, its batches under way."""

    def __init__(self, simulation: Simulation, cores: Cores) -> None:
        self._simulation = simulation
        self._env, demand, self._costs, self._layout = simulation.parts
        self.cores = cores
        self.topic = simpy.Store(self._env)
        self._loop = simpy.Resource(self._env, 1)
        self._window = simpy.Container(self._env, self._layout.max_in_flight, init=self._layout.max_in_flight)
        self._threads = simpy.Resource(self._env, self._layout.decoders)
        self._decoding = simpy.Store(self._env, self._layout.decoders)
        self._decoded = simpy.Store(self._env, 1)
        self._depth = simpy.Resource(self._env, self._layout.depth)
        self._fetch_s = demand.megabytes * self._costs.fetch_ms_per_megabyte / 1000
        self._broker_s = demand.megabytes * self._costs.broker_ms_per_megabyte / 1000
        self._decode_s = self._costs.decode_ms(demand.megapixels) / 1000
        self._env.process(self._feed())
        self._env.process(self._hand_on())
        self._env.process(self._batch())

    def _feed(self) -> Steps:
        while True:
            came = yield self.topic.get()
            yield self._window.get(1)
            yield from self._simulation.serve(self._broker_s)
            yield from self._in_loop(self._fetch_s)
            yield self._decoding.put((came, self._env.process(self._decode())))

    def _decode(self) -> Steps:
        with self._threads.request() as thread:
            yield thread
            yield from self.cores.work(self._decode_s)

    def _hand_on(self) -> Steps:
        """Decoded pictures in the order they came."""
        while True:
            came, decoding = yield self._decoding.get()
            yield decoding
            yield self._decoded.put(came)

    def _batch(self) -> Steps:
        step = self._decoded.get()
        while True:
            batch = [(yield step)]
            step = self._decoded.get()
            deadline = self._env.timeout(self._layout.max_wait_s)
            while len(batch) < self._layout.max_batch:
                yield step | deadline
                if not step.triggered:
                    break
                batch.append(step.value)
                step = self._decoded.get()
            under_way = self._depth.request()
            yield under_way
            self._env.process(self._screen(batch, under_way))

    def _screen(self, batch: Sequence[float], under_way: Any) -> Steps:
        yield from self._simulation.embed(len(batch))
        yield from self._in_loop(len(batch) * self._costs.judge_ms / 1000)
        yield from self._simulation.serve(len(batch) * self._costs.redis_ms / 1000)
        yield self._env.timeout(self._costs.store_ms / 1000)
        self._simulation.store(batch)
        self._depth.release(under_way)
        yield self._window.put(len(batch))

    def _in_loop(self, seconds: float) -> Steps:
        with self._loop.request() as turn:
            yield turn
            self._simulation.loop_worked(seconds)
            yield from self.cores.work(seconds)


def _wait(env: simpy.Environment, seconds: float) -> Steps:
    yield env.timeout(seconds)
