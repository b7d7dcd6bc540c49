"""`eyestream results`: read what was found, in words a clinician uses. The reading is done in `sinks.redis_reader`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eyestream import settings
from eyestream.errors import Misconfigured
from eyestream.programmes import NO_ACTION, Programme, available
from eyestream.records import Decision, Finding, Picture, Reason, Screening, utc
from eyestream.sinks.base import Exam, Results

commands = typer.Typer(no_args_is_help=True, help="Read exams, worklists and counters.")

Answer = TypeVar("Answer")

_EYES: Final = {"R": "right", "L": "left", "U": "unknown eye"}
_STYLES: Final = {"refer": "bold red", "recapture": "yellow", "incomplete": "dim", "clear": "green"}
_OUTCOMES: Final = {
    "refer": "refer",
    "recapture": "take again",
    "incomplete": "waiting for pictures",
    "clear": "clear",
}
_COUNTED: Final = {
    "stored": "pictures stored",
    "duplicate": "pictures that came again",
    "conflict": "pictures judged differently the second time",
    "unreadable": "pictures that could not be read",
    "refer": "exams to refer",
    "recapture": "exams to take again",
    "incomplete": "exams waiting for pictures",
    "clear": "exams clear",
}

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
        console.print(exam_table(found))
        for _, each, screenings in known:
            if each is not None:
                console.print(picture_table(each, screenings))
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
        Console().print(exam_table(exams))
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
    table = Table(title=f"{_title(programme)}, {date} (UTC)", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, words in _COUNTED.items():
        table.add_row(words, f"{found.get(name, 0):,}")
    Console().print(table)


@commands.command()
def tail(
    *,
    file: File = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with those still kept.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="End after so many; 0 goes on until Ctrl-C.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Follow decisions as they are made."""

    async def follow(results: Results) -> None:
        told = 0
        async for event in results.tail(from_start=from_start):
            if as_json:
                typer.echo(json.dumps(dataclasses.asdict(event)))
            else:
                words = _OUTCOMES.get(event.outcome, event.outcome)
                typer.echo(f"{utc(event.at):%H:%M:%S}  {event.exam_id}  {words}  {_urgency(event.programme, event)}")
            told += 1
            if told == limit:
                return

    _ask(file, follow)


def exam_table(exams: Iterable[Exam], *, programmes: Mapping[str, Programme] | None = None) -> Table:
    """Exams as a table a clinician can read; nothing in it identifies a patient.

    `programmes` gives titles to conditions and urgencies; those built in are known, and any other keeps its slugs.
    """
    table = Table(title="Exams", title_justify="left", header_style="bold", show_lines=True)
    for name in ("exam", "decision", "eyes"):
        table.add_column(name, overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    for exam_ in exams:
        programme = _programme(exam_.programme, programmes)
        decision = exam_.decision
        if decision is None:
            table.add_row(exam_.exam_id, Text("not decided yet", style="dim"), "", "")
            continue
        outcome = Text(_OUTCOMES[decision.outcome], style=_STYLES[decision.outcome])
        if decision.urgency != NO_ACTION:
            outcome.append(f"\n{_urgency_title(programme, decision.urgency)}", style="default not bold")
        table.add_row(
            exam_.exam_id,
            outcome,
            _lines(f"{_EYES[eye]}: {decision.eyes.get(eye, '–')}" for eye in "RL"),
            _lines([*(why(reason, programme) for reason in decision.reasons), *_notes(exam_, decision)]),
        )
    return table


def why(reason: Reason, programme: Programme | None) -> str:
    """One finding in one sentence: what, where, on which words, and which probability against which operating point."""
    finding = reason.finding
    return (
        f"{_condition_title(programme, finding.condition)}, {_EYES[reason.laterality]}: "
        f"{_percent(finding)} ({finding.operating_point}) on “{finding.prompt}”"
    )


def picture_table(exam_: Exam, screenings: Sequence[Screening]) -> Table:
    """One exam's pictures: what was found in each, how it was judged and with what."""
    programme = _programme(exam_.programme, None)
    table = Table(title=f"Pictures of {exam_.exam_id}", title_justify="left", header_style="bold", show_lines=True)
    for name in ("image", "eye", "field", "found", "judged with", "site, device", "stored (UTC)"):
        table.add_column(name, overflow="fold")
    for result in screenings:
        meta, stored = result.meta, result.timings.stored
        table.add_row(
            meta.image_id,
            _EYES[meta.laterality],
            meta.field,
            _lines(_found(result, programme)),
            f"encoder {result.identity.encoder[:12]}\nbank {result.identity.bank[:12]}",
            f"{meta.site_id}, {meta.device_id}",
            f"{utc(stored):%Y-%m-%d %H:%M:%S}" if stored else "",
        )
    for note in exam_.unreadable:
        meta = note.meta
        words = f"unreadable ({note.reason}): {note.explanation}"
        table.add_row(
            meta.image_id, _EYES[meta.laterality], meta.field, words, "", f"{meta.site_id}, {meta.device_id}", ""
        )
    return table


def facts(exam_: Exam) -> dict[str, Any]:
    """An exam as JSON has it."""
    return dataclasses.asdict(exam_) | {
        "unreadable": [
            {"image_id": note.meta.image_id, "reason": note.reason, "explanation": note.explanation}
            for note in exam_.unreadable
        ]
    }


def _found(result: Screening, programme: Programme | None) -> Iterable[str]:
    if result.ungradable is not None:
        judged = next((one for one in result.quality if one.condition == result.ungradable), None)
        sure = f" {_percent(judged)}" if judged else ""
        yield f"cannot be judged: {_condition_title(programme, result.ungradable)}{sure}"
    for finding in sorted(result.findings, key=lambda finding: -finding.probability):
        mark = "▸ " if finding.positive else ""
        yield f"{mark}{_condition_title(programme, finding.condition)} {_percent(finding)}"


def _notes(exam_: Exam, decision: Decision) -> Iterable[str]:
    yield from decision.notes
    if not decision.notes:
        for picture in exam_.pictures:
            if said := _said(picture):
                yield f"{_EYES[picture.laterality]}, {picture.image_id}: {said}"


def _said(picture: Picture) -> str | None:
    if picture.unreadable is not None:
        return f"unreadable ({picture.unreadable})"
    return None if picture.ungradable is None else f"cannot be judged ({picture.ungradable})"


def _percent(finding: Finding) -> str:
    sign = "≥" if finding.positive else "<"
    return f"{finding.probability:.1%} {sign} {finding.threshold:.1%}"


def _lines(lines: Iterable[str]) -> RenderableType:
    # What devices and prompts say is shown as it is: square brackets are no markup.
    return Text("\n".join(lines))


def _programme(name: str, known: Mapping[str, Programme] | None) -> Programme | None:
    if known is not None and name in known:
        return known[name]
    return Programme.builtin(name) if name in available() else None


def _title(programme: str) -> str:
    known = _programme(programme, None)
    return escape(known.title if known else programme)


def _condition_title(programme: Programme | None, condition_id: str) -> str:
    condition = programme.condition(condition_id) if programme else None
    return condition.title if condition else condition_id


def _urgency_title(programme: Programme | None, urgency: str) -> str:
    steps = programme.urgencies if programme else ()
    return next((step.title for step in steps if step.name == urgency), "–" if urgency == "none" else urgency)


def _urgency(programme: str, event: Any) -> str:
    return _urgency_title(_programme(programme, None), event.urgency)


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
