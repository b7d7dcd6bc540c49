"""The real parts that every contestant runs on, the pictures that wait for it, and a race over them.

Knows how a contestant is started and where its results lie, and nothing of what it does in between.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import measuring
import numpy as np
import photographs
import redis
import vit
from measuring import Meter, Rate

from eyestream.apps import bank
from eyestream.apps.local import Stack
from eyestream.apps.local.kafka import Kafka, Topic
from eyestream.apps.local.worker import Worker, settings_of
from eyestream.testing.texts import FakeTextEncoder

HERE: Final = Path(__file__).parent
DEMO: Final = "eyestream-demo"
MODELS: Final = {DEMO: (256, 128), vit.NAME: (vit.SIZE, vit.DIM)}
"""Side of the input and length of the embedding."""
PICTURES: Final = {"8MP": (2336, 3504), "1024": (1024, 1024)}
"""Height and width."""
CLIENTS: Final = {"plain": "plain_client.py", "careful": "careful_client.py"}
PARTS: Final = ("kafka", "decode", "triton", "redis")
_FIRST_RESULT_S: Final = 120.0
_LEAST: Final = 64
"""Results that a window holds at the least, or it is made up to four times as long."""
_SKIP_S: Final = 1.5
"""Between the first result and the window: connections, caches and queues fill."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on pictures of one size."""

    model: str
    pictures: str

    @property
    def topic(self) -> str:
        """Where its pictures wait."""
        return f"bench.{self.pictures.lower()}"

    def __str__(self) -> str:
        return f"{self.model}, {self.pictures}"


@dataclass(slots=True)
class Course:
    """Everything under one state folder, started anew and ended on the way out."""

    repository_root: Path
    state: Path
    sent: dict[str, dict[str, float]] = field(default_factory=dict)
    _groups: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def open(self, *, say: Callable[[str], None]) -> Iterator[None]:
        """Kafka, Redis and Triton run, with both models."""
        shutil.rmtree(self._models, ignore_errors=True)
        shutil.copytree(self.repository_root / "model_repository" / DEMO, self._models / DEMO)
        vit.write(self._models, self._models / DEMO)
        stack = self._stack()
        try:
            stack.up(lambda part, line: say(f"{part}: {line}"), fresh=True)
            yield
        finally:
            stack.down()

    def send(self, pictures: str, count: int) -> None:
        """Let `count` pictures of that size wait on their topic."""
        drawn = photographs.files(PICTURES[pictures])
        bootstrap = self._stack().endpoints.kafka
        nbytes = photographs.send(bootstrap, Cell("", pictures).topic, drawn, count)
        height, width = PICTURES[pictures]
        self.sent[pictures] = {"pictures": count, "mean_bytes": nbytes / count, "megapixels": height * width / 1e6}

    def race(self, contestant: str, cell: Cell, *, seconds: float) -> Rate:
        """How fast it stores results while pictures wait; everything else idles."""
        with self._redis() as store:
            store.flushall()
            with self._running(contestant, cell) as pids:
                self._await_first(store, contestant)
                with Meter({**self._parts(), contestant: pids}) as meter:
                    time.sleep(_SKIP_S)
                    began = time.monotonic()
                    before = len(_keys(store, contestant))
                    time.sleep(seconds)
                    while len(_keys(store, contestant)) < before + _LEAST and time.monotonic() < began + 4 * seconds:
                        time.sleep(seconds / 4)
                    seconds = time.monotonic() - began
                    stamps = _stamps(store, contestant)
                    time.sleep(2 * measuring.PERIOD_S)
        return measuring.rate(stamps, meter, skip_s=_SKIP_S, seconds=seconds)

    def alone(self, cell: Cell, *, seconds: float) -> dict[str, Rate]:
        """How fast each part of the line is when nothing else has to be done; call after a race of `line`."""
        with self._redis() as store:
            store.flushall()
        argv = [sys.executable, str(HERE / "parts.py"), str(seconds)]
        environment = self._environment(cell) | {"EYESTREAM_KAFKA__GROUP": self._group("parts")}
        rates = {}
        with (
            subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process,
            Meter({**self._parts(), "line": lambda: [process.pid]}) as meter,
        ):
            told, _ = process.communicate()
            time.sleep(2 * measuring.PERIOD_S)
        if process.returncode != 0:
            raise SystemExit("a part could not be measured alone; what it said is above")
        for part, stamps in json.loads(told).items():
            rates[part] = measuring.rate(stamps, meter, skip_s=seconds / 10, seconds=4 * seconds)
        return rates

    @property
    def _models(self) -> Path:
        return self.state / "models"

    def _stack(self, *also: Worker) -> Stack:
        topics = [Topic(Cell("", name).topic, photographs.PARTITIONS) for name in PICTURES]
        topics += [Topic(f"{topic.name}.dlq") for topic in topics]
        return Stack(self.state, model_repository=self._models, parts=("redis", "triton", Kafka(topics), *also))

    def _parts(self) -> dict[str, Callable[[], Iterable[int]]]:
        stack = self._stack()
        return {name: lambda name=name: stack.pids(name) for name in ("kafka", "redis", "triton")}

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self._stack().endpoints.redis_url)

    def _group(self, contestant: str) -> str:
        return f"{contestant}-{os.getpid()}-{next(self._groups)}"

    def _environment(self, cell: Cell) -> dict[str, str]:
        settings = settings_of(self.state, name=_worker_name("line", cell))
        # As the local stack starts its workers.
        return {**os.environ, "EYESTREAM_SETTINGS": str(settings), "OPENBLAS_NUM_THREADS": "1"}  # noqa: TID251

    @contextlib.contextmanager
    def _running(self, contestant: str, cell: Cell) -> Iterator[Callable[[], Iterable[int]]]:
        if contestant in CLIENTS:
            with self._client(contestant, cell) as pids:
                yield pids
            return
        worker = self._worker(contestant, cell)
        stack = self._stack(worker)
        stack.start(worker.name)
        try:
            yield lambda: measuring.family(stack.pids(worker.name)[0])
        finally:
            stack.stop(worker.name)

    def _worker(self, contestant: str, cell: Cell) -> Worker:
        side = {"topic": cell.topic, "group": self._group(contestant)}
        tower = self.repository_root / "build_engines/demo/text"
        return Worker(
            name=_worker_name(contestant, cell),
            model_repository=self._models,
            model=cell.model,
            text_tower=tower if cell.model == DEMO else FakeTextEncoder(MODELS[cell.model][1]),
            plain=contestant != "serve",
            shelf=self.state / "banks" / cell.model,
            changes={"kafka": side},
        )

    @contextlib.contextmanager
    def _client(self, contestant: str, cell: Cell) -> Iterator[Callable[[], Iterable[int]]]:
        at = self._stack().endpoints
        options: dict[str, Any] = {
            "kafka": at.kafka,
            "topic": cell.topic,
            "group": self._group(contestant),
            "triton": at.triton_grpc,
            "model": cell.model,
            "redis": at.redis_url,
            "prompts": self._prompts(cell.model),
            "size": MODELS[cell.model][0],
        }
        argv = [sys.executable, str(HERE / CLIENTS[contestant])]
        argv += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # noqa: TID251  # as the line's
        process = subprocess.Popen(argv, env=environment)
        try:
            yield lambda: [process.pid]
        finally:
            process.kill()
            process.wait()

    def _prompts(self, model: str) -> Path:
        """The phrases' vectors of the demo's programme, for clients that know no banks."""
        file = self.state / f"prompts-{model}.npz"
        if not file.exists():
            programme = bank.read("demo")
            folder = self.repository_root / "build_engines/demo/text"
            tower = bank.tower(folder) if model == DEMO else FakeTextEncoder(MODELS[model][1])
            names = [condition.id for condition in programme.conditions]
            np.savez(file, names=names, vectors=tower.encode([c.positive[0] for c in programme.conditions]))
        return file

    def _await_first(self, store: redis.Redis, contestant: str) -> None:
        deadline = time.monotonic() + _FIRST_RESULT_S
        while next(store.scan_iter(_pattern(contestant), count=1000), None) is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"{contestant} stored nothing within {_FIRST_RESULT_S:.0f} s: see {self.state}/logs")
            time.sleep(0.1)


def _worker_name(contestant: str, cell: Cell) -> str:
    return f"{contestant}-{cell.model}-{cell.pictures}".lower()


def _pattern(contestant: str) -> str:
    return "result:*" if contestant in CLIENTS else "es:*:image:*"


def _keys(store: redis.Redis, contestant: str) -> list[bytes]:
    return list(store.scan_iter(_pattern(contestant), count=5000))


def _stamps(store: redis.Redis, contestant: str) -> list[float]:
    """When each result was stored, as it says itself."""
    keys = _keys(store, contestant)
    texts = [text for start in range(0, len(keys), 1000) for text in store.mget(keys[start : start + 1000])]
    results = [json.loads(text) for text in texts]
    return [one["stored"] if contestant in CLIENTS else one["timings"]["stored"] for one in results]
