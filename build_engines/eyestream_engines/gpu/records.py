"""What was measured of one encoder on one GPU, as a file that is kept. Knows no network and no page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from eyestream_engines.gates import Reading
from eyestream_engines.gpu.machine import Machine
from eyestream_engines.gpu.timing import Rates
from eyestream_engines.spec import SHELF

MEASURED: Final = SHELF / "measured" / "gpu"
"""A folder for each kind of GPU in it."""
OF_CEILING, OF_COMPILED, OF_ENGINE = 0.6, 1.3, 0.95
"""Goals: share of the measured ceiling, times as fast as torch.compile, Triton's share of the engine alone."""


@dataclass(frozen=True, slots=True)
class Row:
    """One encoder at one batch.

    `flops` of one batch. `engine`, `compiled`, `served` and `products` are batches a second: of the engine alone, of
    torch.compile in FP16, of the engine through Triton, and of the encoder's matrix products with nothing between them;
    `ceiling` is floating-point operations a second of the fastest square product. None where something did not run, and
    then `notes` say why. `eager`: torch.compile did not compile, and what was timed in its place is the same network
    without it.
    """

    batch: int
    flops: int
    readings: tuple[Reading, ...]
    engine: Rates | None = None
    compiled: Rates | None = None
    served: Rates | None = None
    products: Rates | None = None
    ceiling: Rates | None = None
    notes: tuple[str, ...] = ()
    eager: bool = False

    @property
    def pictures(self) -> float:
        """Pictures a second of the engine; 0 where it did not run."""
        return self.batch * self.engine.median if self.engine else 0.0

    @property
    def of_ceiling(self) -> float | None:
        """Share of the ceiling that the engine reaches."""
        return self.flops * self.engine.over(self.ceiling) if self.engine and self.ceiling else None

    @property
    def of_products(self) -> float | None:
        """How near it comes to what its own products alone would take."""
        return self.engine.over(self.products) if self.engine and self.products else None

    @property
    def of_compiled(self) -> float | None:
        """How many times as fast as torch.compile; None where nothing was compiled."""
        return self.engine.over(self.compiled) if self.engine and self.compiled and not self.eager else None

    @property
    def of_engine(self) -> float | None:
        """Triton's share of the engine alone."""
        return self.served.over(self.engine) if self.engine and self.served else None


@dataclass(frozen=True, slots=True)
class Record:
    """One encoder; `identity` is that of everything its numbers depend on, and empty while it is being measured.

    `failed` says why it was given up. `day` of the measurement; `seconds` that all of it took, `compiled_s` and `bytes`
    of the plan, `square` the side of the matrices of the ceiling.
    """

    encoder: str
    machine: Machine
    day: str
    identity: str = ""
    readings: tuple[Reading, ...] = ()
    rows: tuple[Row, ...] = field(default=())
    compiled_s: float = 0.0
    bytes: int = 0
    square: int = 0
    seconds: float = 0.0
    failed: str = ""

    @property
    def held(self) -> bool:
        """Whether it was given up nowhere and every answer keeps its bounds."""
        every = [*self.readings, *(reading for row in self.rows for reading in row.readings)]
        return not self.failed and bool(self.rows) and all(reading.passed for reading in every)

    @property
    def best(self) -> Row | None:
        """The row of the most pictures a second, on which the goals are held; None where nothing ran."""
        return max((row for row in self.rows if row.engine), key=lambda row: row.pictures, default=None)

    def save(self, folder: Path) -> None:
        """Write `<GPU>/<encoder>.json`, whole or not at all."""
        path = path_of(folder, self.machine, self.encoder)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(path)


_RECORD: Final = TypeAdapter(Record)


def path_of(folder: Path, machine: Machine, encoder: str) -> Path:
    """Where it is kept."""
    return folder / machine.slug / f"{encoder}.json"


def kept(path: Path) -> Record | None:
    """What was measured; None when nothing was, or its file cannot be read."""
    try:
        return _RECORD.validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError):
        return None


def every(folder: Path) -> Iterator[Record]:
    """All that is kept, GPU by GPU."""
    for path in sorted(folder.glob("*/*.json")):
        if (record := kept(path)) is not None:
            yield record
