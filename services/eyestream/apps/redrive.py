"""`eyestream redrive`: look at the dead letters and put them back. The work is done in `brokers.redrive`."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eyestream import settings
from eyestream.apps.kafka import kafka_options
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import DeadLetter, Selection, address, count_by_reason
from eyestream.brokers.redrive import read_dead_letters, replay
from eyestream.errors import Misconfigured
from eyestream.records import HEADER_META, utc

commands = typer.Typer(no_args_is_help=True, help="Look at pictures that could not be screened, and put them back.")

_AGE: Final = re.compile(r"^(\d+)([mhd])$")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400}
_SHOWN: Final = {"content-type", "traceparent", "eyestream-ref", "eyestream-redrive-count", "eyestream-redriven-from"}
"""Headers whose values may be shown. Any other may hold what a device was not meant to send."""

File = Annotated[
    Path | None,
    typer.Option("--settings", "-s", help="TOML file; EYESTREAM_* variables override it.", show_default=False),
]
Reason = Annotated[str | None, typer.Option(help="Only this reason, e.g. truncated.", show_default=False)]
Stage = Annotated[str | None, typer.Option(help="Only what this stage refused, e.g. decoding.", show_default=False)]
Site = Annotated[str | None, typer.Option(help="Only this site.", show_default=False)]
Programme = Annotated[str | None, typer.Option(help="Only this programme.", show_default=False)]
Exam = Annotated[str | None, typer.Option(help="Only this exam's id.", show_default=False)]
Image = Annotated[str | None, typer.Option(help="Only this image's id.", show_default=False)]
Since = Annotated[str | None, typer.Option(help="Failed at or after: 30m, 2h, 7d ago, or a time in ISO 8601.")]
Until = Annotated[str | None, typer.Option(help="Failed before; as --since.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


@commands.command("list")
def list_(
    *,
    file: File = None,
    reason: Reason = None,
    stage: Stage = None,
    site: Site = None,
    programme: Programme = None,
    exam: Exam = None,
    image: Image = None,
    since: Since = None,
    until: Until = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Leave out those that were put back.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show the newest so many; 0 shows all. Counts are of all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters and count them by reason."""
    selection = Selection(
        reason=reason,
        stage=stage,
        site=site,
        programme=programme,
        exam=exam,
        image=image,
        since=moment(since),
        until=moment(until),
        redriven=not waiting,
    )
    letters = [letter for letter in read_dead_letters(_options(file)) if letter in selection]
    shown = letters[-limit:] if limit else letters
    if as_json:
        for letter in shown:
            typer.echo(json.dumps(facts(letter)))
        return
    console = Console()
    if not letters:
        console.print("No dead letters.")
        return
    console.print(table(shown))
    console.print(counts(letters))


@commands.command()
def show(
    letter: Annotated[str, typer.Argument(help="As `list` names it: topic/partition/offset.")], *, file: File = None
) -> None:
    """Show all that may be shown of one dead letter."""
    found = _only(read_dead_letters(_options(file)), letter)
    grid = Table.grid(padding=(0, 2))
    for name, value in facts(found).items():
        grid.add_row(name.replace("_", " "), escape(str(value)))
    for name, raw in found.headers:
        value = raw.decode(errors="replace") if name in _SHOWN else f"{size(len(raw))}, not shown"
        if name != HEADER_META:
            grid.add_row(f"header {_safe(name)}", _safe(value))
    Console().print(grid)


@commands.command("replay")
def replay_(
    letters: Annotated[list[str] | None, typer.Argument(help="Addresses, as `list` names them.")] = None,
    *,
    file: File = None,
    reason: Reason = None,
    stage: Stage = None,
    site: Site = None,
    programme: Programme = None,
    exam: Exam = None,
    image: Image = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All of them; needed when nothing narrows it down.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were put back before.")] = False,
    max_redrives: Annotated[int, typer.Option(min=1, help="Leave alone what was put back so often.")] = 3,
) -> None:
    """Put dead letters back onto their topic, to be screened again once the cause is mended."""
    selection = Selection(
        addresses=frozenset(letters or ()),
        reason=reason,
        stage=stage,
        site=site,
        programme=programme,
        exam=exam,
        image=image,
        since=moment(since),
        until=moment(until),
    )
    if selection.everything and not everything:
        raise typer.BadParameter("say which: addresses, --reason, --site, … or --all")
    options = _options(file)
    there = read_dead_letters(options)
    missing = selection.addresses - {address(letter.position) for letter in there}
    if missing:
        raise typer.BadParameter(f"no such dead letter: {', '.join(sorted(missing))}")
    chosen = [letter for letter in there if letter in selection]
    fates: Counter[str] = Counter()
    console = Console()
    for done in replay(options, chosen, again=again, max_redrives=max_redrives, dry_run=dry_run):
        fates[done.fate] += 1
        to = f" → {address(done.position)}" if done.position else ""
        console.print(f"{address(done.letter.position)}  {done.letter.reason}: {done.fate}{to}", highlight=False)
    console.print(", ".join(f"{count} {fate}" for fate, count in fates.items()) or "No dead letter matches.")
    if fates["put back before"]:
        console.print("Those put back before are left alone; --again puts them back once more.")


def table(letters: Sequence[DeadLetter]) -> Table:
    """The dead letters as a table for a terminal; nothing in it identifies a patient."""
    made = Table(title="Dead letters", title_justify="left", header_style="bold")
    for name in ("dead letter", "failed (UTC)", "reason", "stage", "site", "image", "size", "put back", "what to do"):
        made.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for letter in letters:
        made.add_row(
            address(letter.position),
            f"{utc(letter.failed):%Y-%m-%d %H:%M:%S}",
            letter.reason,
            letter.stage,
            letter.meta.site_id if letter.meta else "?",
            letter.meta.image_id if letter.meta else "?",
            size(letter.nbytes),
            "yes" if letter.redriven else f"{letter.redrives} times before" if letter.redrives else "no",
            escape(letter.explanation),
        )
    return made


def counts(letters: Iterable[DeadLetter]) -> Table:
    """How many for each reason and stage."""
    made = Table(header_style="bold")
    for name in ("reason", "stage", "letters"):
        made.add_column(name, justify="right" if name == "letters" else "left")
    for (reason, stage), count in count_by_reason(letters).items():
        made.add_row(reason, stage, str(count))
    return made


def facts(letter: DeadLetter) -> dict[str, str | int | bool | None]:
    """What may be said of a dead letter, by name; the subject's pseudonym is not among it."""
    meta = letter.meta
    return {
        "letter": address(letter.position),
        "original": address(letter.original),
        "reason": letter.reason,
        "stage": letter.stage,
        "explanation": letter.explanation,
        "attempts": letter.attempts,
        "produced": utc(letter.produced).isoformat(),
        "failed": utc(letter.failed).isoformat(),
        "bytes": letter.nbytes,
        "size": size(letter.nbytes),
        "picture": "in the dead letter" if letter.carried else "only where it was read",
        "site_id": meta.site_id if meta else None,
        "device_id": meta.device_id if meta else None,
        "programme": meta.programme if meta else None,
        "exam_id": meta.exam_id if meta else None,
        "image_id": meta.image_id if meta else None,
        "redrives": letter.redrives,
        "redriven": letter.redriven,
    }


def size(nbytes: float) -> str:
    """Bytes as a person reads them: 0 B, 3.4 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:  # noqa: PLR2004  the unit's own step
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"


def moment(text: str | None, *, now: dt.datetime | None = None) -> float | None:
    """`30m`, `2h` or `7d` ago, or an ISO 8601 time (UTC when it names no zone), as seconds since 1970."""
    if text is None:
        return None
    now = now or dt.datetime.now(dt.UTC)
    if match := _AGE.match(text):
        return now.timestamp() - int(match[1]) * _SECONDS[match[2]]
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither an age like 2h nor a time like 2026-01-31T12:00") from None
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()


def _options(file: Path | None) -> KafkaOptions:
    return kafka_options(settings.load(file).kafka)


def _only(letters: Iterable[DeadLetter], name: str) -> DeadLetter:
    for letter in letters:
        if address(letter.position) == name:
            return letter
    raise Misconfigured(f"There is no dead letter {name!r}: `eyestream redrive list` names those there are.")


def _safe(text: str) -> str:
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:200]))
