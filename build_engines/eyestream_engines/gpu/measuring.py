"""One encoder from its weights to its rows, in a process of its own: `python -m eyestream_engines.gpu.measuring`.

What it takes of a GPU's memory is given back, and an encoder that ends its process takes no other's rows with it: each
row is written as soon as it is measured.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from eyestream.errors import EyestreamError
from eyestream_engines import building, child, compilers
from eyestream_engines.compilers.base import Compiler
from eyestream_engines.gpu import machine, records, runtime, serving
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.making import Made, make
from eyestream_engines.gpu.records import Record
from eyestream_engines.gpu.runtime import Engine
from eyestream_engines.gpu.subjects import Subject, chosen
from eyestream_engines.gpu.timing import Effort
from eyestream_engines.spec import EncoderFile
from eyestream_engines.steps import Told

if TYPE_CHECKING:
    from eyestream_engines.gpu.rows import Bench

_LAST: Final = 500
"""Letters of a fault that are kept."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of the process.

    `gpu` False rehearses on the processor, with ONNX Runtime in TensorRT's place. `triton` is a tritonserver's path;
    without one a rehearsal takes the local stack's, and a GPU's figures go without Triton's. `batches` and `squares`
    are those of the encoder and of a GPU where none are named; `compiled` False leaves torch.compile out.
    """

    encoder: str
    folder: Path
    gpu: bool = True
    triton: Path | None = None
    effort: Effort = field(default_factory=Effort)
    batches: tuple[int, ...] = ()
    squares: tuple[int, ...] = ()
    compiled: bool = True

    def to_json(self) -> str:
        """For the process's command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The task that `to_json` wrote."""
        told = json.loads(text)
        paths = {name: Path(told[name]) for name in ("folder", "triton") if told[name]}
        sizes = {name: tuple(told[name]) for name in ("batches", "squares")}
        return cls(**told | paths | sizes | {"effort": Effort(**told["effort"])})


def batches_of(encoder: EncoderFile) -> list[int]:
    """One, a quarter, half, and all of what the engine takes at a time."""
    most = encoder.serving.max_batch
    return sorted({1, max(1, most // 4), max(1, most // 2), most})


def compiler_of(task: Task) -> Compiler:
    """TensorRT on a GPU, ONNX Runtime in a rehearsal. Raises Misconfigured where there is none."""
    return compilers.choose("tensorrt" if task.gpu else "onnxruntime")


def machine_of(compiler: Compiler) -> machine.Machine:
    """This machine, as its records name it."""
    target = compiler.target
    return machine.here(target.compiler, target.version, gpu=target.gpu, compute=target.compute)


def identity_of(subject: Subject, compiler: Compiler) -> str:
    """sha256 of what its figures depend on: weights, description, all our code, packages, GPU."""
    return building.identity_of(subject.encoder, subject.digest, compiler)


def measure(task: Task, *, told: Callable[[str], None] = lambda _line: None) -> Record:
    """Measure in a process of its own, and keep what was found; where it died, what it had found and how it ended."""
    (subject,) = chosen([task.encoder])
    blank = Record(task.encoder, machine_of(compiler_of(task)), _today())
    path = records.path_of(task.folder, blank.machine, task.encoder)
    path.unlink(missing_ok=True)
    status, errors = child.run([sys.executable, "-m", __name__, task.to_json()], told)
    found = records.kept(path) or blank
    if status == 0 and found.identity:
        return found
    how = f"its process ended with status {status}"
    if status < 0:
        how = f"its process was ended by signal {-status}: perhaps it needs more memory"
    failed = f"{how}. {errors.strip()[-_LAST:]}".strip()
    record = replace(found, identity=identity_of(subject, compiler_of(task)), failed=failed)
    record.save(task.folder)
    return record


def measure_here(task: Task, *, told: Told) -> Record:
    """Measure in this process; the record is saved after every row."""
    started = time.monotonic()
    (subject,) = chosen([task.encoder])
    compiler = compiler_of(task)
    record = Record(task.encoder, machine_of(compiler), _today())
    record.save(task.folder)
    with TemporaryDirectory(prefix="eyestream-gpu-") as place:
        try:
            made = make(subject, compiler, Path(place), told=told)
            size = made.compiled
            record = replace(
                record,
                readings=made.readings,
                bytes=int(str(size["bytes"])),
                compiled_s=float(str(size.get("seconds", 0))),
            )
            device = Device("cuda" if task.gpu else "cpu")
            engine = _loaded(made, device, compiler)
            from eyestream_engines.gpu.ceiling import SQUARES, ceiling
            from eyestream_engines.gpu.rows import Bench

            told("finding the fastest matrix product", 0.0)
            roof = ceiling(device, task.effort, sides=task.squares or SQUARES)
            record = replace(record, square=roof.side)
            bench = Bench(made, engine, device, roof, compiled=task.compiled)
            for row in _rows(task, made, bench, told=told):
                record = replace(record, rows=(*record.rows, row))
                record.save(task.folder)
        except (EyestreamError, RuntimeError) as error:  # RuntimeError: torch's and CUDA's own faults
            record = replace(record, failed=str(error)[:_LAST])
    done = round(time.monotonic() - started, 1)
    return replace(record, identity=identity_of(subject, compiler), seconds=done)


def _rows(task: Task, made: Made, bench: Bench, *, told: Told) -> Iterator[records.Row]:
    from eyestream_engines.gpu.rows import measured

    with contextlib.ExitStack() as open_:
        told("starting Triton", 0.0)
        bench.client, bench.absent = _client(task, made, open_)
        for size in task.batches or batches_of(made.encoder):
            told(f"timing {size} at a time", 0.0)
            yield measured(bench, size, task.effort)
            bench.device.release()


def _client(task: Task, made: Made, open_: contextlib.ExitStack) -> tuple[serving.Client | None, str]:
    """Triton with the engine, or why there is none."""
    if task.gpu and task.triton is None:
        return None, "no tritonserver was found: name one with TRITON=path, as NVIDIA's container of it has"
    serve = serving.by(task.triton) if task.triton else serving.on_processor
    try:
        address = open_.enter_context(serve(made.repository, made.encoder.name))
        return open_.enter_context(serving.Client.to(address, made.encoder.name)), ""
    except EyestreamError as error:
        return None, f"Triton does not serve it: {error}"


def _loaded(made: Made, device: Device, compiler: Compiler) -> Engine:
    if not device.gpu:
        return runtime.Graph(made.engine)
    import torch

    torch.cuda.init()  # TensorRT then works in torch's own context of the GPU
    return runtime.Plan(made.engine, device, importlib.import_module(compiler.target.compiler))


def _today() -> str:
    return dt.datetime.now(dt.UTC).date().isoformat()


if __name__ == "__main__":
    import torch

    asked = Task.from_json(sys.argv[1])
    torch.set_num_threads((os.cpu_count() or 1) if asked.gpu else 1)
    with child.leaving_in_order():
        done = measure_here(asked, told=lambda step, _share: print(step, flush=True))  # noqa: T201 - the parent reads it
    done.save(asked.folder)
