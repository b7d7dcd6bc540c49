"""One parity case measured from its keys to Triton's answer and, where there is one, to a compiler's plan.

`python -m eyestream_engines.reporting.measuring` is the process that does it: what one case takes of memory is given
back, and a case that the kernel ends takes no other with it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from eyestream.errors import EyestreamError
from eyestream_engines import checkpoints, child, verifying
from eyestream_engines.cases import Case
from eyestream_engines.compilers.tensorrt import TensorRT, installed
from eyestream_engines.gates import Reading
from eyestream_engines.heads import parity
from eyestream_engines.reporting.records import Plan, Record, Row, identity_of, kept
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import Told

COMPUTE: Final = "8.9"
"""TensorRT for RTX compiles for this capability where it is not told another; it needs no GPU for that."""
RTX: Final = "tensorrt-rtx"
_ADAPTED: Final = "flair"
"""Whose adapters the case without an encoder is of."""
_LAST: Final = 500
"""Letters of a fault that are kept."""


def measure(case: Case, folder: Path, *, plans: bool, told: Callable[[str], None] = lambda _line: None) -> Record:
    """Measure the case in a process of its own and keep what was found; a process that dies is a row that says so.

    SIGTERM or Ctrl-C while it does so ends that process first, and with it the Triton that it started.
    """
    task = {"case": str(case.folder), "seed": case.seed, "folder": str(folder), "plans": plans}
    command = [sys.executable, "-m", __name__, json.dumps(task)]
    status, errors = child.run(command, told)
    found = kept(folder, case.name)
    if status == 0 and found is not None:
        return found
    how = f"its process ended with status {status}"
    if status < 0:
        how = f"its process was ended by signal {-status}: perhaps it needs more memory"
    names = [_ADAPTED] if case.name == parity.CASE else [encoder.name for encoder in verifying.distinct(case)]
    rows = tuple(Row(name, (), failed=f"{how}. {errors.strip()[-_LAST:]}") for name in names)
    record = Record(case.name, identity_of(case), machine(), 0.0, rows)
    record.save(folder)
    return record


def measure_here(case: Case, *, plans: bool, told: Told) -> Record:
    """Measure the case in this process."""
    started, identity = time.monotonic(), identity_of(case)
    rows: list[Row] = []
    if case.name == parity.CASE:
        rows.append(Row(_ADAPTED, tuple(parity.readings(case))))
    else:
        rows += [_row(encoder, case, plans=plans, told=told) for encoder in verifying.distinct(case)]
    return Record(case.name, identity, machine(), round(time.monotonic() - started, 1), tuple(rows))


def machine() -> str:
    """What it was measured on, for a person."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} processors {model}"


def _row(encoder: EncoderFile, case: Case, *, plans: bool, told: Told) -> Row:
    from eyestream_engines.reporting.costs import costs

    found: list[Reading] = []
    made: list[Plan] = []

    def graph(path: Path) -> None:
        if plans and installed(RTX):
            told("compiling", 0.0)
            made.append(_plan(encoder, path))

    failed = ""
    try:
        found.extend(verifying.readings(encoder, case, case.file(), told=told, graph=graph))
    except EyestreamError as error:
        failed = str(error)[:_LAST]
    parameters, gmacs = costs(encoder, checkpoints.select(encoder, case.file()))
    return Row(encoder.name, tuple(found), parameters, round(gmacs, 2), made[0] if made else None, failed)


def _plan(encoder: EncoderFile, graph: Path) -> Plan:
    with TemporaryDirectory(prefix="eyestream-plan-") as place:
        try:
            facts = TensorRT(RTX, compute=COMPUTE).compile(graph, encoder, Path(place) / "model.onnx", _silent)
        except EyestreamError as error:
            return Plan(RTX, COMPUTE, refused=str(error)[:_LAST])
    return Plan(RTX, COMPUTE, seconds=float(str(facts["seconds"])), bytes=int(str(facts["bytes"])))


def _silent(_phase: str, _share: float) -> None:
    pass


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    with child.leaving_in_order():
        done = measure_here(
            Case.open(Path(asked["case"]), seed=asked["seed"]),
            plans=asked["plans"],
            told=lambda step, _share: print(step, flush=True),  # noqa: T201 - the parent reads it
        )
    done.save(Path(asked["folder"]))
