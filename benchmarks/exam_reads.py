"""Exams read over HTTP: the results service as `eyestream web run` starts it, asked by readers that never pause.

`python benchmarks/exam_reads.py [--processes 2] [--reads 6000]` starts Redis and the service on loopback. Readers,
Redis and service share the machine's cores; the service's own processor time says what cores of its own would give.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import measuring
import redis_writes

from eyestream.testing import redis_server
from eyestream.web.keys import make_key

EXAMS: Final = 1000
READERS: Final = 4
_PER_EXAM: Final = 4
_START_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading cost: reads a second of everything together, and the processor time of the service alone."""

    per_s: float
    cpu_ms: float


@contextmanager
def service(folder: Path, redis_url: str, processes: int) -> Iterator[tuple[int, int, str]]:
    """The service on exams that are stored: its process id, its port, and a key to read with."""
    asyncio.run(
        redis_writes.stored(
            redis_url, redis_writes.pictures(EXAMS * _PER_EXAM), batch=8, in_flight=4, fsync=False
        )
    )  # fmt: skip
    key, entry = make_key("bench", ["read"])
    keys, ready, settings = folder / "keys.toml", folder / "ready", folder / "settings.toml"
    keys.write_text(entry)
    [port] = redis_server.free_ports(1)
    settings.write_text(
        f'[redis]\nurl = "{redis_url}"\n[banks]\nshelf = "{folder / "banks"}"\n'
        f'[web]\nport = {port}\nprocesses = {processes}\napi_keys = "{keys}"\n'
        "requests_per_s = 1e9\nburst = 1000000000\n"
    )
    argv = [sys.executable, "-m", "eyestream", "web", "run", "-s", str(settings), "--ready-file", str(ready)]
    with (folder / "service.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as running:
        try:
            deadline = time.monotonic() + _START_S
            while not ready.exists():
                if running.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the service did not start:\n" + (folder / "service.log").read_text()[-2000:])
                time.sleep(0.1)
            yield running.pid, port, key
        finally:
            running.terminate()


def read(port: int, key: str, reads: int) -> None:
    """One reader: exam after exam over one connection. Raises RuntimeError for any answer but an exam."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for number in range(reads):
        connection.request("GET", f"/v1/exams/exam-{number % EXAMS}", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the service answered {answer.status}: {answer.read()[:300]!r}")
        answer.read()


def measured(processes: int, reads: int) -> Reading:
    """That many reads, shared by readers in processes of their own."""
    with (
        tempfile.TemporaryDirectory() as name,
        redis_server.running(redis_writes.server(), Path(name, "redis"), appendfsync="everysec") as running,
        service(Path(name), running.url, processes) as (pid, port, key),
    ):
        read(port, key, reads // 10)
        family = [measuring.psutil.Process(each) for each in measuring.family(pid)]
        spent, began = sum(map(measuring.cpu_s, family)), time.perf_counter()
        each = reads // READERS
        with multiprocessing.Pool(READERS) as pool:
            pool.starmap(read, [(port, key, each)] * READERS)
        seconds = time.perf_counter() - began
        spent = sum(map(measuring.cpu_s, family)) - spent
    return Reading(each * READERS / seconds, 1000 * spent / (each * READERS))


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--reads", type=int, default=6000)
    given = parser.parse_args()
    done = measured(given.processes, given.reads)
    print(
        f"{done.per_s:.0f} reads/s beside {READERS} readers and Redis; {done.cpu_ms:.2f} CPU ms of the service a read"
    )


if __name__ == "__main__":
    main()
