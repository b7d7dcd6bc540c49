"""Rates out of the times at which results were stored, and whose processor time they took. Knows no contestant."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import psutil

PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Rate:
    """Pictures per second between two moments, and CPU milliseconds of each group of processes for each picture.

    `strangers` is the share of all cores that processes which are no part of the benchmark took meanwhile.
    """

    per_s: float
    pictures: int
    cpu_ms: Mapping[str, float] = field(default_factory=dict)
    strangers: float = 0.0

    @property
    def total_ms(self) -> float:
        """CPU milliseconds a picture cost altogether."""
        return sum(self.cpu_ms.values())


class Meter:
    """Follows the processor time of groups of processes while it is open; a group is asked anew for its processes."""

    def __init__(self, groups: Mapping[str, Callable[[], Iterable[int]]]) -> None:
        self._processes = {name: [psutil.Process(pid) for pid in pids()] for name, pids in groups.items()}
        self._rows: list[list[float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> tuple[dict[str, float], float]:
        """CPU seconds of each group between two moments of `time.time()`, and the share of cores strangers took."""
        rows = np.asarray(self._rows)
        spent = [float(np.diff(np.interp((begin, end), rows[:, 0], column))[0]) for column in rows.T[1:]]
        groups = dict(zip(self._processes, spent, strict=False))
        strangers = (spent[-2] - sum(groups.values()) - spent[-1]) / (end - begin) / (os.cpu_count() or 1)
        return groups, max(0.0, strangers)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            spent = [sum(map(cpu_s, processes)) for processes in self._processes.values()]
            machine = psutil.cpu_times()
            busy = sum(machine) - machine.idle - machine.iowait - machine.steal - machine.guest - machine.guest_nice
            self._rows.append([time.time(), *spent, busy, time.process_time()])


def cpu_s(process: psutil.Process) -> float:
    """What it has used until now; 0 when it is gone."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def family(pid: int) -> list[int]:
    """A process and all below it."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def rate(stamps: Sequence[float], meter: Meter, *, skip_s: float, seconds: float) -> Rate:
    """Over `seconds` that begin `skip_s` after the first result.

    Results come in batches, so the window is cut to begin and end with one: what was stored with the first moment is
    not counted, what was stored with the last is. Raises ValueError when too little was stored to say anything.
    """
    times = np.sort(np.asarray(stamps))
    inside = times[(times >= times[0] + skip_s) & (times <= times[0] + skip_s + seconds)] if len(times) else times
    moments = np.unique(inside)
    if len(moments) < 3:  # noqa: PLR2004
        raise ValueError(f"{len(times)} results were stored: too few to tell a rate; measure for longer")
    begin, end = float(moments[0]), float(moments[-1])
    count = int(((times > begin) & (times <= end)).sum())
    spent, strangers = meter.between(begin, end)
    cpu_ms = {name: 1000 * each / count for name, each in spent.items()}
    return Rate(count / (end - begin), count, cpu_ms, strangers)


def facts() -> dict[str, str]:
    """The machine and the versions of what was measured."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    packages = ("confluent-kafka", "kafka-python", "tritonclient", "redis", "simplejpeg", "pillow", "numpy", "ray")
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
    }
