"""`eyestream-engines report` and `gpu`: what every encoder measures here, and on a GPU. Knows no network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eyestream.errors import EyestreamError, Misconfigured

out = Console()
err = Console(stderr=True)


def report(
    cases: Annotated[list[str] | None, typer.Argument(help="parity cases; all unless named")] = None,
    *,
    page: Annotated[Path, typer.Option(help="the page to write")] = Path("docs/engines.md"),
    measured: Annotated[
        Path | None, typer.Option(help="where measurements are kept; build_engines/measured unless named")
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="begin no case after so long; 0 writes the page alone", min=0)
    ] = math.inf,
    plans: Annotated[bool, typer.Option(help="compile with TensorRT for RTX, where it is installed")] = True,
) -> None:
    """Measure every parity case that was not yet, and write the page; ended, it goes on where it was."""
    from eyestream_engines.cases import shipped
    from eyestream_engines.reporting import measuring, records, running
    from eyestream_engines.reporting.page import broken, summary
    from eyestream_engines.reporting.page import page as lines

    every = list(shipped())
    if unknown := sorted(set(cases or ()) - {case.name for case in every}):
        known = ", ".join(case.name for case in every)
        raise Misconfigured(f"there is no parity case {', '.join(unknown)}; there are: {known}")
    state = running.run(
        every,
        measured or records.MEASURED,
        chosen=cases or (),
        minutes=minutes,
        plans=plans,
        told=lambda case, line: err.print(f"{case}: {line}", markup=False, highlight=False),
    )
    page.write_text("\n".join(lines(state, compute=measuring.COMPUTE)) + "\n")
    out.print(summary(state), markup=False, highlight=False, soft_wrap=True)
    if any(broken(row) for record in state.records.values() for row in record.rows):
        raise typer.Exit(1)


def gpu(
    *,
    require: Annotated[bool, typer.Option("--require", help="end with status 1 where there is no GPU")] = False,
) -> None:
    """Compile every encoder with TensorRT on this machine's GPU and hold its answers; says loudly where it cannot."""
    from eyestream_engines import gpu as checks
    from eyestream_engines import verifying
    from eyestream_engines.cases import NO_ENCODERS, shipped
    from eyestream_engines.compilers.tensorrt import TensorRT
    from eyestream_engines.heads import parity

    cases = [case for case in shipped() if case.name not in NO_ENCODERS and case.name != parity.CASE]
    if reason := checks.lacking():
        every = [encoder.name for case in cases for encoder in verifying.distinct(case)]
        err.print(checks.not_run(reason, every), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1 if require else 0)
    compiler, held, failed = TensorRT("tensorrt"), 0, 0
    for case in cases:
        weights = case.file()
        for encoder in verifying.distinct(case):
            try:
                found = list(checks.readings(encoder, case, weights, compiler, told=lambda step, _: err.print(step)))
                good = all(reading.passed for reading in found)
                told = found[-1].told()
            except EyestreamError as error:
                good, told = False, str(error)
            held, failed = held + good, failed + (not good)
            out.print(
                f"{'passed' if good else 'FAILED'}  {encoder.name}: {told}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    out.print(f"gpu: {compiler.target.gpu}: {held} encoders compiled and held, {failed} failed", soft_wrap=True)
    if failed:
        raise typer.Exit(1)
