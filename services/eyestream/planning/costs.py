"""What one picture costs in every part, as data: measured by `make bench`, or written by whoever measured elsewhere."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eyestream.errors import Misconfigured

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]

ASSUMED_EFFICIENCY: Final = 0.3
"""Share of a GPU's FP16 peak that an engine nobody has measured yet is taken to reach."""
_OVERHEAD_MS: Final = 0.5
"""What a request costs a GPU besides its pictures, where nobody has measured it: launches, copies, scheduling."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Decoding(_Table):
    """One thread's processor milliseconds for a picture of so many megapixels, from file to encoder input."""

    megapixels: Positive
    cpu_ms: Positive


class Engine(_Table):
    """A request of n pictures holds one instance for `request_ms` + n × `picture_ms`.

    `on_cpu`: an instance is a thread on the cores that the workers use as well, as in the local stack.
    """

    request_ms: Cost
    picture_ms: Positive
    on_cpu: bool = False
    measured: bool = True


class Costs(_Table):
    """Processor milliseconds for a picture, unless named otherwise; `source` says where and how they were measured.

    `fetch_ms_per_megabyte` and `judge_ms` are spent in a worker's event loop, which is one thread: taking a message
    off Kafka, and batching, scoring, judging, storing and acknowledging it. `broker_ms_per_megabyte`, `redis_ms` are
    the servers' own. `store_ms` is how long a batch waits for Redis. `result_bytes` is what a stored picture takes of
    Redis's memory, its share of the exam included. `crowding`: by how much all of it is dearer where every part shares
    the same cores and their caches; it says nothing where each has its own.
    """

    source: str
    decoding: Annotated[tuple[Decoding, ...], Field(min_length=1)]
    engines: dict[str, Engine] = {}
    fetch_ms_per_megabyte: Cost
    judge_ms: Positive
    broker_ms_per_megabyte: Cost
    redis_ms: Positive
    store_ms: Positive
    result_bytes: Positive
    crowding: Annotated[float, Field(ge=1, le=3)] = 1.1

    def decode_ms(self, megapixels: float) -> float:
        """Between and beyond what was measured on a straight line; through zero where one size was measured."""
        points = sorted((point.megapixels, point.cpu_ms) for point in self.decoding)
        if len(points) == 1:
            return points[0][1] * megapixels / points[0][0]
        sizes, spent = zip(*points, strict=True)
        if megapixels <= sizes[-1]:
            return float(np.interp(megapixels, sizes, spent))
        slope = (spent[-1] - spent[-2]) / (sizes[-1] - sizes[-2])
        return float(spent[-1] + slope * (megapixels - sizes[-1]))

    def engine(self, encoder: str, gpu: str) -> Engine:
        """What the encoder costs there: as measured (`encoder@gpu`), else assumed from its arithmetic.

        Raises Misconfigured where neither is known.
        """
        if known := self.engines.get(f"{encoder}@{gpu}"):
            return known
        table = work()
        if encoder not in table.gflop:
            raise Misconfigured(f"there is no encoder {encoder}; there are {', '.join(sorted(table.gflop))}")
        if gpu not in table.tflops:
            raise Misconfigured(
                f'nothing is known of {encoder} on {gpu}: put its cost into --costs as [engines."{encoder}@{gpu}"],'
                f" or name one of {', '.join(sorted(table.tflops))}"
            )
        picture_ms = table.gflop[encoder] / (table.tflops[gpu] * ASSUMED_EFFICIENCY)
        return Engine(request_ms=_OVERHEAD_MS, picture_ms=picture_ms, measured=False)


class Work(_Table):
    """`gflop`: an encoder's 10⁹ floating-point operations for a picture; `tflops`: a GPU's dense FP16 peak, 10¹²/s."""

    gflop: dict[str, Positive]
    tflops: dict[str, Positive]


def work() -> Work:
    """The table that ships."""
    return Work.model_validate(_shipped("work.toml"))


def load(path: Path | None) -> Costs:
    """The costs in that TOML file, or those that ship. Raises Misconfigured for a file that cannot be used."""
    if path is None:
        return Costs.model_validate(_shipped("costs.toml"))
    try:
        return Costs.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read as TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors())
        raise Misconfigured(f"{path} is no table of costs: {faults}") from None


def _shipped(name: str) -> dict[str, object]:
    return tomllib.loads(resources.files("eyestream.planning").joinpath(name).read_text("utf-8"))
