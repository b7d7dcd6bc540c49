"""`python -m controlplane`: build the programs, or hold a control plane for work by hand."""

from __future__ import annotations

from pathlib import Path

import typer

from controlplane import binaries
from controlplane.cluster import ControlPlane
from eyestream.errors import Misconfigured

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def build() -> None:
    """Build every program that is not in the cache, and say how long it took."""
    binaries.build(say=typer.echo)


@app.command()
def up(state: Path) -> None:
    """Start a control plane in this folder and leave it running."""
    plane = ControlPlane(state)
    plane.up(lambda part, line: typer.echo(f"{part}: {line}"))
    typer.echo(f"KUBECONFIG={plane.kubeconfig}")


@app.command()
def down(state: Path) -> None:
    """End it."""
    ControlPlane(state).down()


if __name__ == "__main__":
    try:
        app()
    except Misconfigured as error:
        raise SystemExit(f"controlplane: {error}") from None
