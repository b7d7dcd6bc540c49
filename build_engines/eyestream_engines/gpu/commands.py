"""`eyestream-engines gpu`: which encoders are measured on a GPU, and what is said of it. Knows no network."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from eyestream.errors import Misconfigured

if TYPE_CHECKING:
    from eyestream_engines.gpu.measuring import Task
    from eyestream_engines.gpu.records import Record

out = Console()
err = Console(stderr=True)


def gpu(
    encoders: Annotated[list[str] | None, typer.Argument(help="which; all unless named")] = None,
    *,
    require: Annotated[bool, typer.Option("--require", help="end with status 1 where there is no GPU")] = False,
    triton: Annotated[
        Path | None, typer.Option(help="a tritonserver with TensorRT; that of the path unless named")
    ] = None,
    page: Annotated[Path, typer.Option(help="the page to write")] = Path("docs/gpu.md"),
    measured: Annotated[
        Path | None, typer.Option(help="where figures are kept; build_engines/measured/gpu unless named")
    ] = None,
    minutes: Annotated[float, typer.Option(help="begin no encoder after so long", min=0)] = math.inf,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="the same steps on a processor, of the named encoders; keeps nothing")
    ] = False,
) -> None:
    """Compile encoders with TensorRT on this GPU, hold their answers and time them; says loudly where it cannot."""
    from eyestream_engines.gpu import machine, records, serving
    from eyestream_engines.gpu.measuring import Task
    from eyestream_engines.gpu.subjects import chosen

    names = [subject.encoder.name for subject in chosen(encoders or ())]
    if rehearse:
        _rehearse(encoders or (), triton)
        return
    if reason := machine.lacking():
        err.print(not_run(reason, names), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1 if require else 0)
    folder, program = measured or records.MEASURED, serving.server(triton)
    _run([Task(name, folder, triton=program) for name in names], folder, page, minutes=minutes)


def not_run(reason: str, encoders: Sequence[str]) -> str:
    """What a person must read who has asked for it."""
    return (
        f"gpu: NOT RUN: {reason}. No plan was compiled with TensorRT, none was held against its original on a GPU, and "
        f"nothing was learned of their speed, for {len(encoders)} encoders: {', '.join(encoders)}. "
        "`make engines-report` checks on a processor what can be checked there, and `make gpu REHEARSE=eyestream-demo` "
        "goes through these steps on one."
    )


def _run(tasks: Sequence[Task], folder: Path, page: Path, *, minutes: float) -> None:
    """Measure what is not kept yet of today's code, and write the page anew after each."""
    from eyestream_engines.gpu import records
    from eyestream_engines.gpu.page import goals
    from eyestream_engines.gpu.page import page as lines

    deadline, done, left = time.monotonic() + 60 * minutes, [], 0
    for task in tasks:
        record = _kept(task)
        if record is None and time.monotonic() >= deadline:
            left += 1
            continue
        done.append(record or _measured(task))
        page.write_text("\n".join(lines(list(records.every(folder)))) + "\n")
    if left:
        _print(f"gpu: {left} encoders were NOT RUN, for the time was over; the same command goes on with them")
    _end(done, goals=list(goals(done)))


def _rehearse(encoders: Sequence[str], triton: Path | None) -> None:
    """All steps in miniature, with ONNX Runtime in TensorRT's place and the local stack's Triton."""
    from eyestream_engines.gpu import serving
    from eyestream_engines.gpu.measuring import Task
    from eyestream_engines.gpu.timing import Effort

    if not encoders:
        raise Misconfigured("name what to rehearse: REHEARSE=eyestream-demo, or `gpu --rehearse eyestream-demo`")
    program = serving.server(triton) if triton else None
    brief = Effort(warm_s=0.2, rounds=3, spell_s=0.2)
    _print("gpu: a REHEARSAL on a processor: it shows that the steps work, and says nothing of a GPU's speed")
    with TemporaryDirectory(prefix="eyestream-rehearsal-") as folder:
        asked = Task("", Path(folder), gpu=False, triton=program, effort=brief, batches=(1, 2), squares=(256, 512))
        _end([_measured(replace(asked, encoder=name)) for name in encoders], goals=())


def _kept(task: Task) -> Record | None:
    """What is kept of it, where nothing that its figures depend on has changed since and its process lived."""
    from eyestream_engines.gpu import records
    from eyestream_engines.gpu.measuring import compiler_of, identity_of, machine_of
    from eyestream_engines.gpu.subjects import chosen

    (subject,) = chosen([task.encoder])
    compiler = compiler_of(task)
    record = records.kept(records.path_of(task.folder, machine_of(compiler), task.encoder))
    if record is None or record.failed or record.identity != identity_of(subject, compiler):
        return None
    return record


def _measured(task: Task) -> Record:
    from eyestream_engines.gpu.measuring import measure
    from eyestream_engines.gpu.page import lines

    def told(step: str) -> None:
        err.print(f"{task.encoder}: {step}", markup=False, highlight=False)

    record = measure(task, told=told)
    for line in lines(record):
        _print(line)
    return record


def _end(records: Sequence[Record], *, goals: Sequence[str]) -> None:
    """The goals and the last line; status 1 when something failed. A goal that is missed fails nothing."""
    from eyestream_engines.gpu.page import summary

    if records:
        for line in (*goals, summary(records)):
            _print(line)
    if not all(record.held for record in records):
        raise typer.Exit(1)


def _print(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
