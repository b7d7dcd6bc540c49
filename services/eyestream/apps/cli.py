"""The `eyestream` program: every process and every tool under one name."""

from __future__ import annotations

import sys

import typer

from eyestream import __version__
from eyestream.errors import EyestreamError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Screen retinal pictures at the scale of a nation.\n\n"
        "device → Kafka → decode → batch → Triton → score → Redis → acknowledge\n\n"
        "[bold]local[/] starts real parts on this machine, [bold]device[/] sends pictures, [bold]screening[/] runs the "
        "line, [bold]results[/] reads what it found, [bold]redrive[/] brings dead letters back, [bold]bank[/] says in "
        "words what to look for."
    ),
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the program; what eyestream can name ends it with one clear line and exit code 1."""
    try:
        app()
    except EyestreamError as error:
        sys.exit(f"eyestream: {error}")
