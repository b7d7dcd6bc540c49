"""What the parts of a local stack hold in memory while a test runs. Knows process ids, and nothing of what they do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Final, Self

import psutil

MIB: Final = 2**20
EVERY_S: Final = 5.0
_WARM: Final = 0.2
"""The share of the time after which a part has loaded what it needs: growth counts from there."""

Pids = Callable[[str], Collection[int]]


def held(pids: Collection[int]) -> float:
    """MiB that these processes hold, what they share counted once (PSS); one that has ended holds nothing."""
    total = 0
    for pid in pids:
        try:
            total += psutil.Process(pid).memory_full_info().pss
        except psutil.Error:
            continue
    return total / MIB


class Memory:
    """Looks every few seconds for as long as its block lasts. `pids` names the processes of a part."""

    def __init__(
        self,
        parts: Collection[str],
        pids: Pids,
        *,
        every_s: float = EVERY_S,
        measure: Callable[[Collection[int]], float] = held,
    ) -> None:
        self._parts, self._pids, self._every_s, self._measure = parts, pids, every_s, measure
        self._seen: dict[str, list[float]] = {part: [] for part in parts}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def told(self) -> Mapping[str, Mapping[str, float]]:
        """MiB of each part: once it was warm, at the end, and at the most."""
        return {
            part: {"warm": seen[int(_WARM * (len(seen) - 1))], "end": seen[-1], "most": max(seen)}
            for part, seen in self._seen.items()
            if seen
        }

    def _look(self) -> None:
        while True:
            for part in self._parts:
                self._seen[part].append(self._measure(self._pids(part)))
            if self._over.wait(self._every_s):
                return
