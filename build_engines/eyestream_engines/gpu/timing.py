"""How fast several things are beside each other, as rates of the same rounds. Knows no network and no GPU.

A GPU's clock rises under work and sinks with heat, so two things that were timed one after the other were timed on two
machines. Here every contestant is first worked until it is warm; then they take turns, each round in another order, and
a ratio is the median of the ratios within rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from eyestream.errors import EyestreamError

Contestant = Callable[[int], None]
"""Does its work so many times, and returns when all of it is done. Raises RuntimeError when it cannot."""

Clock = Callable[[], float]
_MOST: Final = 1 << 24
"""Of calls in one spell, lest something that does nothing is called for ever."""
_LONGEST: Final = 300
"""Letters of a fault that are kept."""


class Unfit(RuntimeError):
    """Something cannot run here at this size; its text says why, and what else was measured stands."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to work before measuring, how many rounds to measure, and how long each spell of one lasts, at least."""

    warm_s: float = 2.0
    rounds: int = 7
    spell_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls a second, one for each round in order."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a share of the middle one."""
        return (max(self.rounds) - min(self.rounds)) / self.median

    def times(self, amount: float) -> Rates:
        """The rates of what each call does that much of."""
        return Rates(tuple(rate * amount for rate in self.rounds))

    def over(self, other: Rates) -> float:
        """How many times as fast as the other, by the middle of the ratios within rounds."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))


@dataclass(frozen=True, slots=True)
class Compared:
    """The rates of those that ran, and of each that could not, why."""

    rates: Mapping[str, Rates]
    faults: Mapping[str, str]


def compare(contestants: Mapping[str, Contestant], effort: Effort, *, clock: Clock = time.perf_counter) -> Compared:
    """Warm every contestant, then time them in turns; one that raises is left out of what follows, with its reason."""
    faults: dict[str, str] = {}
    calls: dict[str, int] = {}
    for name, contestant in contestants.items():
        try:
            calls[name] = warmed(contestant, effort, clock=clock)
        except (RuntimeError, EyestreamError) as error:  # torch says by a RuntimeError that memory is too small
            faults[name] = reason(error)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(effort.rounds):
        standing = [name for name in calls if name not in faults]
        turn = number % max(1, len(standing))
        for name in standing[turn:] + standing[:turn]:
            try:
                found[name].append(calls[name] / _spell(contestants[name], calls[name], clock))
            except (RuntimeError, EyestreamError) as error:
                faults[name] = reason(error)
    return Compared({name: Rates(tuple(rates)) for name, rates in found.items() if name not in faults}, faults)


def warmed(contestant: Contestant, effort: Effort, *, clock: Clock = time.perf_counter) -> int:
    """Work until it is warm; returns how many calls last a spell."""
    begun, calls, took = clock(), 1, _spell(contestant, 1, clock)
    while clock() - begun < effort.warm_s or took < effort.spell_s:
        if took < effort.spell_s:
            calls *= 2
        if calls >= _MOST:
            break
        took = _spell(contestant, calls, clock)
    return calls


def reason(error: Exception) -> str:
    """What a fault says, in one line, or its kind where it has no words."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def _spell(contestant: Contestant, calls: int, clock: Clock) -> float:
    begun = clock()
    contestant(calls)
    return clock() - begun
