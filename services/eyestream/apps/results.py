"""`eyestream results`: read what was found, in words a clinician uses. The reading is done in `sinks.redis_reader`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from eyestream import settings
from eyestream.apps.results_tables import count_table, event_line, exam_table, picture_table
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import Screening
from eyestream.sinks.base import Exam, Results

commands = typer.Typer(no_args_is_help=True, help="Read exams, worklists and counters.")

Answer = TypeVar("Answer")

File = Annotated[
    Path | None,
    typer.Option("--settings", "-s", help="TOML file; EYESTREAM_* variables override it.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]
ProgrammeName = Annotated[str, typer.Argument(help="The programme's name, e.g. demo.", metavar="PROGRAMME")]


@commands.command()
def exam(
    exam_ids: Annotated[list[str], typer.Argument(help="One exam or more.", metavar="EXAM...")],
    *,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Show exams: the decision, why, and each picture with what it was judged with."""

    async def read(results: Results) -> list[tuple[str, Exam | None, list[Screening]]]:
        return [(name, await results.exam(name), await results.screenings(name)) for name in exam_ids]

    known = _ask(file, read)
    console = Console()
    found = [entry for _, entry, _ in known if entry is not None]
    if as_json:
        for entry in found:
            typer.echo(json.dumps(facts(entry)))
    elif found:
        programmes = _shelved(file)
        console.print(exam_table(found, programmes=programmes))
        for _, each, screenings in known:
            if each is not None:
                console.print(picture_table(each, screenings, programmes=programmes))
    missing = [name for name, entry, _ in known if entry is None]
    if missing:
        typer.echo(f"Nothing is known of {', '.join(missing)}.", err=True)
        raise typer.Exit(1)


@commands.command()
def worklist(
    programme: ProgrammeName,
    *,
    file: File = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Exams on one page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the exams that wait for a person, most urgent first and longest waiting first."""

    async def read(results: Results) -> tuple[list[Exam], str | None]:
        page = await results.worklist(programme, limit=limit, cursor=cursor)
        exams = [await results.exam(entry.exam_id) for entry in page.entries]
        return [known for known in exams if known is not None], page.cursor

    exams, rest = _ask(file, read)
    if as_json:
        for known in exams:
            typer.echo(json.dumps(facts(known)))
    elif exams:
        Console().print(exam_table(exams, programmes=_shelved(file)))
    else:
        typer.echo("Nobody is waiting.")
    if rest is not None:
        typer.echo(f"More: --cursor {rest}", err=as_json)


@commands.command()
def counts(
    programme: ProgrammeName,
    *,
    file: File = None,
    day: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC; today when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count a day's pictures by what became of them, and the exams begun that day by how they stand now."""
    date = day.date() if day else dt.datetime.now(dt.UTC).date()

    async def read(results: Results) -> Mapping[str, int]:
        return await results.counts(programme, date)

    found = _ask(file, read)
    if as_json:
        typer.echo(json.dumps({"programme": programme, "day": str(date), **found}))
        return
    Console().print(count_table(programme, date, found, programmes=_shelved(file)))


@commands.command()
def tail(
    *,
    file: File = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with those still kept.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="End after so many; 0 goes on until Ctrl-C.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Follow decisions as they are made."""
    programmes = _shelved(file)

    async def follow(results: Results) -> None:
        told = 0
        async for event in results.tail(from_start=from_start):
            if as_json:
                typer.echo(json.dumps(dataclasses.asdict(event)))
            else:
                typer.echo(event_line(event, programmes=programmes))
            told += 1
            if told == limit:
                return

    _ask(file, follow)


def facts(exam_: Exam) -> dict[str, Any]:
    """An exam as JSON has it."""
    return dataclasses.asdict(exam_) | {
        "unreadable": [
            {"image_id": note.meta.image_id, "reason": note.reason, "explanation": note.explanation}
            for note in exam_.unreadable
        ]
    }


def _shelved(file: Path | None) -> Mapping[str, Programme]:
    """The programmes in service, where this machine has the shelf; results are read without it too."""
    shelf = Shelf(settings.load(file).banks.shelf)
    known = {}
    for name in shelf.programmes():
        with suppress(Misconfigured):  # whoever publishes banks is told of it, not whoever reads results
            if (bank := shelf.current(name)) is not None:
                known[name] = bank.programme
    return known


def _ask(file: Path | None, question: Callable[[Results], Awaitable[Answer]]) -> Answer:
    async def ask() -> Answer:
        async with _reader(file) as results:
            return await question(results)

    return asyncio.run(ask())


@asynccontextmanager
async def _reader(file: Path | None) -> AsyncIterator[Results]:
    try:
        from eyestream.sinks.redis_reader import ResultsReader
    except ImportError as error:
        raise Misconfigured("reading results needs the redis client: pip install 'eyestream[worker]'") from error

    redis = settings.load(file).redis
    results = ResultsReader(redis.url.get_secret_value(), cluster=redis.cluster)
    try:
        yield results
    finally:
        await results.close()
