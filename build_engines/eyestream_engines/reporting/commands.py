"""`eyestream-engines report`: what every encoder measures here. Knows no network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eyestream.errors import Misconfigured

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
