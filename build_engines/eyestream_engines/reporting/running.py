"""Which cases are measured, in which order, and when it is enough for today."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eyestream_engines.cases import NO_ENCODERS, Case
from eyestream_engines.compilers.tensorrt import installed
from eyestream_engines.heads import parity
from eyestream_engines.reporting.measuring import RTX, measure
from eyestream_engines.reporting.page import State
from eyestream_engines.reporting.records import identity_of, kept


def run(
    cases: Sequence[Case],
    folder: Path,
    *,
    chosen: Sequence[str] = (),
    minutes: float = math.inf,
    plans: bool,
    told: Callable[[str, str], None],
) -> State:
    """Measure every case that has no valid record, or lacks a plan, the smallest first; return how all of them stand.

    Of `chosen`, where some are, only those. None is begun once `minutes` are over; 0 measures nothing. `told` hears the
    case and what is being done. Ended at any moment, it goes on with the case it was at.
    """
    deadline = time.monotonic() + 60 * minutes
    for case in sorted(cases, key=_work):
        wanted = case.name not in NO_ENCODERS and (not chosen or case.name in chosen)
        if not wanted or (_valid(case, folder) and not (plans and _lacks_a_plan(case, folder))):
            continue
        if time.monotonic() >= deadline:
            break
        told(case.name, "beginning")
        measure(case, folder, plans=plans, told=lambda line, name=case.name: told(name, line))  # type: ignore[misc]
    found = {case.name: kept(folder, case.name) for case in cases}
    valid = {case.name for case in cases if _valid(case, folder)}
    records = {name: record for name, record in found.items() if record is not None}
    return State(
        cases=[case.name for case in cases],
        records={name: record for name, record in records.items() if name in valid},
        stale={name: record for name, record in records.items() if name not in valid},
    )


def _valid(case: Case, folder: Path) -> bool:
    record = kept(folder, case.name)
    return record is not None and record.identity == identity_of(case)


def _lacks_a_plan(case: Case, folder: Path) -> bool:
    """Whether it was measured without a compiler, and one is here."""
    record = kept(folder, case.name)
    assert record is not None
    return (
        case.name != parity.CASE and installed(RTX) and any(row.plan is None and not row.failed for row in record.rows)
    )


def _work(case: Case) -> float:
    """Weights times numbers read: what a case takes, roughly."""
    weights = sum(math.prod(shape) for shape, _ in case.facts.get("keys", {}).values())
    read = case.facts.get("input")
    return float(weights * math.prod(read["shape"])) if isinstance(read, dict) and "shape" in read else float(weights)
