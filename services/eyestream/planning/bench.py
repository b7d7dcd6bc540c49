"""Costs out of the record that `make bench` leaves: every part's own cost, measured while it worked alone.

The record tells rates of many batches. One batch's wait for Redis, one request's own cost and the memory of a result
are not in it: they are those that ship.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.planning.costs import Costs, Decoding, Engine, load

_BATCH: Final = 8


def costs(record: Mapping[str, Any], model: str) -> Costs:
    """What pictures cost that model's line. Raises Misconfigured for a record without the parts of such a line."""
    pictures: Mapping[str, Mapping[str, float]] = record.get("pictures", {})
    runs: Mapping[str, Mapping[str, Any]] = record.get("runs", {})
    cells = {name: runs[f"{model}, {name}"] for name in pictures if f"{model}, {name}" in runs}
    if not cells and runs:
        known = ", ".join(sorted({line.rpartition(", ")[0] for line in runs}))
        raise Misconfigured(f"the bench's record holds no line with {model}: name another encoder; it has {known}")
    if not all(
        {f"alone: {part}" for part in ("kafka", "decode", "triton", "redis")} <= cell.keys() for cell in cells.values()
    ):
        cells = {}
    if not cells:
        raise Misconfigured(
            f"the bench's record holds no line with {model} and its parts alone: run `make bench` whole"
        )
    largest = max(cells, key=lambda name: pictures[name]["mean_bytes"])
    cell, megabytes = cells[largest], pictures[largest]["mean_bytes"] / 1e6
    engine_ms = _cpu_ms(cell, "triton", "triton")
    shipped = load(None)
    request_ms = shipped.engine("eyestream-demo", "cpu").request_ms
    return Costs(
        source=f"make bench on {record['facts']['processor']}, parts on their own",
        decoding=tuple(
            Decoding(megapixels=pictures[name]["megapixels"], cpu_ms=_cpu_ms(each, "decode", "line"))
            for name, each in cells.items()
        ),
        engines={
            f"{model}@cpu": Engine(request_ms=request_ms, picture_ms=engine_ms - request_ms / _BATCH, on_cpu=True)
        },
        fetch_ms_per_megabyte=_cpu_ms(cell, "kafka", "line") / megabytes,
        broker_ms_per_megabyte=_cpu_ms(cell, "kafka", "kafka") / megabytes,
        judge_ms=_cpu_ms(cell, "triton", "line") + _cpu_ms(cell, "redis", "line"),
        redis_ms=_cpu_ms(cell, "redis", "redis"),
        store_ms=shipped.store_ms,
        result_bytes=shipped.result_bytes,
    )


def read(path: Path, model: str) -> Costs:
    """The same, from the file. Raises Misconfigured."""
    try:
        return costs(json.loads(path.read_text("utf-8")), model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{path} is no record of `make bench`: {type(error).__name__}: {error}") from error


def _cpu_ms(cell: Mapping[str, Any], part: str, group: str) -> float:
    return float(statistics.median(run["cpu_ms"][group] for run in cell[f"alone: {part}"]))
