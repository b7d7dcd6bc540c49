"""The books of a load test: how long each stage took, what was sent, what came back. Adds up; knows no server.

Books of several processes are merged, so a stage's times are kept as counts in buckets and not one by one.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Self

WIDTH: Final = 0.01
"""A bucket is this much wider than the one before: a percentile is at most so much too high, and never too low."""
PERCENTILES: Final = (50.0, 95.0, 99.0, 99.9)
_LOG: Final = math.log1p(WIDTH)
_LEAST_S: Final = 1e-4
"""Shorter times are this long: no clock here tells them apart."""


@dataclass(slots=True)
class Book:
    """Times of one stage, in seconds."""

    buckets: Counter[int] = field(default_factory=Counter)
    sum_s: float = 0.0
    longest_s: float = 0.0

    def add(self, seconds: float) -> None:
        """One more. Clocks of two machines may differ by more than a stage takes: less than nothing is nothing."""
        seconds = max(seconds, 0.0)
        self.buckets[math.ceil(math.log(max(seconds, _LEAST_S) / _LEAST_S) / _LOG)] += 1
        self.sum_s += seconds
        self.longest_s = max(self.longest_s, seconds)

    @property
    def count(self) -> int:
        """How many."""
        return self.buckets.total()

    def percentile(self, percent: float) -> float:
        """The time that so many percent did not exceed; nan when there is none."""
        rank = math.ceil(self.count * percent / 100)
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= max(rank, 1):
                return min(_LEAST_S * math.exp(bucket * _LOG), self.longest_s)
        return math.nan

    def merge(self, other: Book) -> None:
        """Take in what another process measured."""
        self.buckets.update(other.buckets)
        self.sum_s += other.sum_s
        self.longest_s = max(self.longest_s, other.longest_s)


@dataclass(slots=True)
class Books:
    """All stages and counts of one process, or of all of them.

    `counts` has what happened how often; `moments` has the latest time, in seconds since 1970, of things of which only
    the latest matters, and `firsts` the earliest. `faults` are sentences; `banks` counts results by the bank they name.
    """

    stages: dict[str, Book] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    banks: Counter[str] = field(default_factory=Counter)
    moments: dict[str, float] = field(default_factory=dict)
    firsts: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def took(self, stage: str, seconds: float) -> None:
        """A stage took so long once more."""
        self.stages.setdefault(stage, Book()).add(seconds)

    def happened(self, name: str, at: float) -> None:
        """Something happened; the first and the latest time are kept."""
        self.moments[name] = max(self.moments.get(name, at), at)
        self.firsts[name] = min(self.firsts.get(name, at), at)

    def merge(self, other: Books) -> None:
        """Take in another process's, or what it added since the last time."""
        for name, book in other.stages.items():
            self.stages.setdefault(name, Book()).merge(book)
        self.counts.update(other.counts)
        self.banks.update(other.banks)
        for name, at in other.moments.items():
            self.moments[name] = max(self.moments.get(name, at), at)
        for name, at in other.firsts.items():
            self.firsts[name] = min(self.firsts.get(name, at), at)
        self.faults += other.faults

    def to_message(self) -> dict[str, Any]:
        """As a message between processes carries them: lists, numbers and text alone."""
        return {
            "stages": {
                name: [sorted(book.buckets.items()), book.sum_s, book.longest_s] for name, book in self.stages.items()
            },
            "counts": dict(self.counts),
            "banks": dict(self.banks),
            "moments": self.moments,
            "firsts": self.firsts,
            "faults": self.faults,
        }

    @classmethod
    def from_message(cls, told: dict[str, Any]) -> Self:
        """The books that were sent so."""
        return cls(
            stages={
                name: Book(Counter({int(bucket): int(n) for bucket, n in buckets}), sum_s, longest_s)
                for name, (buckets, sum_s, longest_s) in told["stages"].items()
            },
            counts=Counter(told["counts"]),
            banks=Counter(told["banks"]),
            moments=dict(told["moments"]),
            firsts=dict(told["firsts"]),
            faults=list(told["faults"]),
        )
