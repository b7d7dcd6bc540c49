"""The results service: alone in a process (`eyestream web run`), or in Ray Serve replicas (`--serve`)."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from eyestream import records
from eyestream import settings as settings_module
from eyestream.apps import web_wiring
from eyestream.telemetry import log_as_json
from eyestream.web.keys import make_key
from eyestream.web.principals import SCOPES, Grant

commands = typer.Typer(no_args_is_help=True, help="Serve results, worklists and pictures over HTTP.")

File = Annotated[Path | None, typer.Option("--settings", "-s", help="TOML file; EYESTREAM_* variables override it.")]


@commands.command()
def run(
    file: File = None,
    *,
    serve: Annotated[bool, typer.Option("--serve", help="Host it on Ray Serve.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="Touched once it listens.")] = None,
) -> None:
    """Serve until SIGTERM; then finish what is being answered and exit 0."""
    settings = settings_module.load(file)
    log_as_json(logging.getLevelNamesMapping()[settings.telemetry.log_level])
    web_wiring.guard(settings)  # whoever cannot be let in is told of before anything listens
    if serve:
        from eyestream.apps.web_serve import run_on_serve

        run_on_serve(settings, ready_file)
        return
    from eyestream.apps.web_process import run_alone

    run_alone(settings, ready_file)


@commands.command()
def key(
    name: Annotated[str, typer.Argument(help="Who the key is for, e.g. ward-7; the audit record says key:NAME.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help=f"What it may: {', '.join(SCOPES)}; in one programme alone: read@PROGRAMME. Repeat for several."
        ),
    ],
    *,
    expires: Annotated[datetime | None, typer.Option(help="UTC; never when left out.")] = None,
    file: Annotated[Path | None, typer.Option("--append-to", help="Add it to this file of keys.")] = None,
) -> None:
    """Make an API key: shown once on standard error, its hash for the file of keys on standard output."""
    for one in scope:
        try:
            Grant.parse(one)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    made, entry = make_key(name, scope, expires=expires and expires.replace(tzinfo=records.utc(0).tzinfo))
    if file is None:
        typer.echo(entry, nl=False)
    else:
        with file.open("a") as keys:
            keys.write("\n" + entry)
    typer.echo(made, err=True)
