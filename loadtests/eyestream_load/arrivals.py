"""When everything is meant to happen, computed before anything does: an answer that is late delays no later arrival.

The same scenario gives the same schedule, so that every process of a distributed test knows its own part of it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from eyestream.records import Laterality, RetinalField
from eyestream_load.scenario import Cameras, Curve, Scenario, total

Seconds = npt.NDArray[np.float64]

VIEWS: Final[tuple[tuple[Laterality, RetinalField], ...]] = (
    ("R", "macula"),
    ("R", "disc"),
    ("L", "macula"),
    ("L", "disc"),
)
"""What an exam consists of; longer exams begin again."""
_STEP_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: when it is meant to be sent, by which camera, of which exam, and which photograph it shows."""

    at_s: float
    camera: int
    exam: int
    view: int
    photograph: int


@dataclass(frozen=True, slots=True)
class Call:
    """One batch for Triton, or one exam for a reader, and whose it is."""

    at_s: float
    caller: int


def times(curve: Curve, seconds: float, *, poisson: bool, rng: np.random.Generator) -> Seconds:
    """When things arrive, in order, in seconds from 0: at the curve's rate, by chance or evenly spread.

    By chance means a Poisson process whose rate is the curve; evenly, the k-th comes where the curve's integral is
    k + 1/2.
    """
    expected = total(curve, seconds)
    if poisson:
        gaps = rng.exponential(size=int(expected + 10 * np.sqrt(expected) + 20))
        passed: Seconds = np.cumsum(gaps)
        marks = passed[passed < expected]
    else:
        marks = np.arange(round(expected), dtype=np.float64) + 0.5
    # Fine enough that the curve's knots fall between two steps without harm.
    moments = np.linspace(0.0, seconds, max(2, int(seconds / _STEP_S) + 1))
    rates = np.interp(moments, [second for second, _ in curve], [rate for _, rate in curve])
    integral = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(moments))])
    rising = np.concatenate([[True], np.diff(integral) > 0])
    found: Seconds = np.interp(marks * (integral[-1] / expected), integral[rising], moments[rising])
    return found


def shots(scenario: Scenario) -> list[Shot]:
    """Every picture of the scenario, in order of time. Exams arrive; the pictures of one follow each other."""
    cameras = scenario.cameras
    if cameras is None:
        return []
    rng = np.random.default_rng([scenario.seed, 1])
    exams = times(_exams(cameras), scenario.seconds, poisson=scenario.arrivals == "poisson", rng=rng)
    made = []
    for exam, at in enumerate(exams.tolist()):
        camera = int(rng.integers(cameras.count))
        # No photograph twice: the same file of the same exam is the same picture, and is screened once.
        chosen = rng.permutation(scenario.photographs.distinct)[: cameras.pictures_per_exam].tolist()
        for view, photograph in enumerate(chosen):
            made.append(Shot(at + view * cameras.between_s, camera, exam, view, photograph))
    return sorted(made, key=lambda shot: (shot.at_s, shot.exam, shot.view))


@functools.lru_cache(maxsize=2)
def shots_by_camera(scenario: Scenario) -> dict[int, list[Shot]]:
    """The same for each camera that has any. Computed once for all cameras of a process."""
    found: dict[int, list[Shot]] = {}
    for shot in shots(scenario):
        found.setdefault(shot.camera, []).append(shot)
    return found


def calls(scenario: Scenario) -> list[Call]:
    """Every batch for Triton, in order of time."""
    part = scenario.triton
    return [] if part is None else _calls(scenario, part.rate, part.count, 2)


def sessions(scenario: Scenario) -> list[Call]:
    """Every exam that a reader begins, in order of time."""
    part = scenario.readers
    return [] if part is None else _calls(scenario, part.rate, part.count, 3)


def _calls(scenario: Scenario, curve: Curve, count: int, stream: int) -> list[Call]:
    rng = np.random.default_rng([scenario.seed, stream])
    found = times(curve, scenario.seconds, poisson=scenario.arrivals == "poisson", rng=rng)
    return [Call(at, int(rng.integers(count))) for at in found.tolist()]


def _exams(cameras: Cameras) -> Curve:
    return tuple((second, rate / cameras.pictures_per_exam) for second, rate in cameras.rate)
