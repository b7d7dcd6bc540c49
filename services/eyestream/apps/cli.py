"""The `eyestream` program: every process and every tool under one name."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import typer

from eyestream import __version__
from eyestream.errors import EyestreamError

GROUPS: Final = {
    "local": ("eyestream.apps.local.commands", "local"),
    "device": ("eyestream.apps.device", ""),
    "screening": ("eyestream.apps.screening", "worker"),
    "results": ("eyestream.apps.results", "worker"),
    "web": ("eyestream.apps.web", "results"),
    "redrive": ("eyestream.apps.redrive", ""),
    "bank": ("eyestream.apps.bank", "worker"),
}
"""Name → module with its `commands`, and the extra it needs beyond what a camera's computer has."""

COMMANDS: Final = {
    "demo": ("eyestream.apps.demo", "local"),
    "drill": ("eyestream.apps.drills.command", "local"),
    "plan": ("eyestream.apps.plan", "planner"),
    "status": ("eyestream.apps.status", "worker"),
}
"""The same for single commands, each a function of the command's own name."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Screen retinal pictures at the scale of a nation.\n\n"
        "device → Kafka → decode → batch → Triton → score → Redis → acknowledge\n\n"
        "[bold]local[/] starts real parts on this machine, [bold]device[/] sends pictures, [bold]screening[/] runs the "
        "line, [bold]results[/] reads what it found, [bold]web[/] serves it over HTTP, [bold]redrive[/] brings "
        "dead letters back, [bold]bank[/] says in words what to look for, [bold]plan[/] says how much of everything a "
        "programme needs, [bold]status[/] asks each part how it stands."
    ),
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the program; what eyestream can name ends it with one clear line and exit code 1."""
    _mount(sys.argv[1:])
    try:
        app()
    except EyestreamError as error:
        sys.exit(f"eyestream: {error}")


def _mount(arguments: list[str]) -> None:
    """Add groups and commands; a module is imported only when it is called or the whole is asked for help."""
    asked = arguments[0] if arguments else ""
    for name, (module, extra) in GROUPS.items():
        if asked in {*GROUPS, *COMMANDS} and asked != name:
            continue
        try:
            app.add_typer(importlib.import_module(module).commands, name=name)
        except ModuleNotFoundError as missing:
            if not extra or (missing.name or "").startswith("eyestream"):
                raise
            app.add_typer(_absent(extra), name=name)
    for name, (module, extra) in COMMANDS.items():
        if asked in GROUPS or (asked in COMMANDS and asked != name):
            continue
        try:
            app.command(name)(getattr(importlib.import_module(module), name))
        except ModuleNotFoundError as missing:
            if (missing.name or "").startswith("eyestream"):
                raise
            app.add_typer(_absent(extra), name=name)


def _absent(extra: str) -> typer.Typer:
    """A group that says which extra to install, where this machine has not got it."""
    stub = typer.Typer(help=f"Not installed here: pip install 'eyestream[{extra}]'", invoke_without_command=True)

    @stub.callback(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def _tell() -> None:
        sys.exit(f"eyestream: this needs an extra that is not installed: pip install 'eyestream[{extra}]'")

    return stub
