"""One batch of one encoder: what is timed beside what, and what is said of whatever could not be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from eyestream.errors import EyestreamError
from eyestream_engines.gates import Reading
from eyestream_engines.gpu import baseline, timing
from eyestream_engines.gpu.ceiling import Ceiling, alone, flops, products
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.making import Made
from eyestream_engines.gpu.records import Row
from eyestream_engines.gpu.runtime import Bound, Engine
from eyestream_engines.gpu.serving import Client
from eyestream_engines.gpu.timing import Contestant, Effort, reason

ENGINE, COMPILED, SERVED, PRODUCTS, CEILING = "the engine", "torch.compile", "Triton", "its products", "the ceiling"


@dataclass
class Bench:
    """What all rows of an encoder share.

    `client` asks Triton, and where there is none `absent` says why; `compiled` False leaves torch.compile out.
    """

    made: Made
    engine: Engine
    device: Device
    roof: Ceiling
    compiled: bool = True
    client: Client | None = None
    absent: str = ""

    def __post_init__(self) -> None:
        """Shapes alone are enough to know what is multiplied."""
        self.shapes = copy.deepcopy(self.made.network).to("meta")


@dataclass
class _Found:
    """What is ready to be timed at this batch, what was held, and what is to be said."""

    contestants: dict[str, Contestant]
    readings: list[Reading]
    notes: list[str]
    eager: bool = False

    def add(self, name: str, ready: Callable[[], Contestant]) -> None:
        """Make it ready, or note why it is not: the others are timed without it."""
        try:
            self.contestants[name] = ready()
        except (RuntimeError, EyestreamError) as error:  # torch says by a RuntimeError that memory is too small
            self.notes.append(f"{name}: {reason(error)}")


def measured(bench: Bench, size: int, effort: Effort) -> Row:
    """The row of that batch. An engine whose answers are beyond their bounds is not timed: it is not the encoder."""
    work = products(bench.shapes, bench.made.encoder.input, size)
    found = _Found({}, [], [])
    found.add(ENGINE, lambda: _engine(bench, size, found.readings))
    if all(reading.passed for reading in found.readings):
        if bench.compiled:
            found.add(COMPILED, lambda: _compiled(bench, size, found))
        found.add(PRODUCTS, lambda: alone(work, bench.device))
        found.contestants[CEILING] = bench.roof.run
        if bench.client is None:
            found.notes.append(f"{SERVED}: {bench.absent}")
        else:
            client = bench.client
            found.add(SERVED, lambda: _served(client, bench.made, size, found.readings))
    else:
        found.contestants.clear()
        found.notes.append(f"{ENGINE} is beyond its bounds and was not timed")
    compared = timing.compare(found.contestants, effort)
    notes = [*found.notes, *(f"{name}: {why}" for name, why in compared.faults.items())]
    rates = compared.rates
    return Row(
        size,
        flops(work),
        tuple(found.readings),
        rates.get(ENGINE),
        rates.get(COMPILED),
        rates.get(SERVED),
        rates.get(PRODUCTS),
        roof.times(bench.roof.flops) if (roof := rates.get(CEILING)) else None,
        tuple(notes),
        found.eager,
    )


def _engine(bench: Bench, size: int, readings: list[Reading]) -> Contestant:
    """Held on every picture before it is timed, at this size: a plan may take other kernels for another."""
    bound: Bound | None = None
    answers = []
    for pixels in bench.made.batches(size):
        bound = bench.engine.bind(pixels)
        bound.run(1)
        answers.append(bound.answer())
    assert bound is not None
    readings.append(bench.made.hold(f"engine, {size} at a time", answers))
    return bound.run


def _compiled(bench: Bench, size: int, found: _Found) -> Contestant:
    half = baseline.Half(bench.made.encoder, bench.made.network).to(bench.device.name)
    bound = baseline.bind(half, bench.device, bench.made.batches(size)[0])
    if bound.fallback:
        found.eager = True
        found.notes.append(f"{COMPILED} DID NOT COMPILE, and the same network was timed without it: {bound.fallback}")
    return bound.run


def _served(client: Client, made: Made, size: int, readings: list[Reading]) -> Contestant:
    batches = made.batches(size)
    held = made.hold(f"Triton, {size} at a time", [client.answer(pixels) for pixels in batches])
    readings.append(held)
    if not held.passed:
        raise timing.Unfit("its answers are beyond their bounds, and it was not timed")
    return client.contestant(batches[0])
