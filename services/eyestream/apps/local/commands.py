"""`eyestream local`: the whole system on this machine, for a person at a terminal. The work is done by `Stack`."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eyestream.apps.local import preflight
from eyestream.apps.local.base import Endpoints, Part
from eyestream.apps.local.base import Progress as Say
from eyestream.apps.local.cache import default_cache
from eyestream.apps.local.stack import PARTS, Stack
from eyestream.apps.local.worker import Worker, settings_of
from eyestream.errors import Misconfigured

commands = typer.Typer(
    no_args_is_help=True,
    help="Run real Kafka, Redis, Triton and the line on this machine: no Docker, no JDK, no root, loopback only.",
)

_GIB_FOR_DATA: Final = 1.0
_COLOURS: Final = {"running": "green", "stopped": "dim", "not ready": "yellow", "died": "red"}

State = Annotated[
    Path | None,
    typer.Option(help="Where the stack's data, logs and process ids lie.", show_default=".eyestream of the project"),
]
Models = Annotated[
    Path | None,
    typer.Option(help="What Triton serves.", show_default="model_repository of the project"),
]
Only = Annotated[
    list[str] | None, typer.Option("--part", help=f"Only this part ({', '.join(PARTS)}); repeat for more.")
]


@commands.command()
def up(
    *,
    state: State = None,
    model_repository: Models = None,
    part: Only = None,
    line: Annotated[
        bool, typer.Option("--line/--no-line", help="Run the screening line over it as well; not with --part.")
    ] = True,
    model: Annotated[str, typer.Option(help="The line's encoder among Triton's models.")] = "eyestream-demo",
    text_tower: Annotated[
        Path | None,
        typer.Option(help="Its text tower, for a first bank.", show_default="build_engines/demo/text of the project"),
    ] = None,
    partitions: Annotated[int, typer.Option(help="Partitions of screening.images.", min=1)] = 4,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away the data of last time.")] = False,
) -> None:
    """Start what does not run yet and wait until each part was really used. Data of last time is there again."""
    models = model_repository or project() / "model_repository"
    parts: list[str | Part] = [*(part or PARTS)]
    if line and not part:
        tower = text_tower or project() / "build_engines" / "demo" / "text"
        parts.append(Worker(model_repository=models, model=model, text_tower=tower))
    stack = Stack(_state(state), model_repository=models, parts=parts, partitions=partitions)
    if fresh:
        stack.require_own("data")
    _check_machine(stack)
    console = Console(stderr=True)
    with _shown(console) as say:
        endpoints = stack.up(say, fresh=fresh)
    console.print(f"logs: {stack.state / 'logs'}", highlight=False, soft_wrap=True)
    if line and not part:
        console.print(f"how it stands: eyestream status -s {settings_of(stack.state)}", highlight=False, soft_wrap=True)
    _export(endpoints)


@commands.command()
def down(*, state: State = None) -> None:
    """End everything that was started in this state folder, in an orderly way. Data and logs stay."""
    with _shown(Console(stderr=True)) as say:
        Stack(_state(state), model_repository=project() / "model_repository").down(say)


@commands.command()
def status(
    *,
    state: State = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each part.")] = False,
) -> None:
    """Ask every part how it is by using it; exit code 1 unless all of them work."""
    parts = Stack.reopen(_state(state)).status()
    if as_json:
        for part in parts:
            typer.echo(json.dumps(dataclasses.asdict(part), default=str))
    else:
        table = Table("part", "is", "process", "answers at")
        for part in parts:
            how = f"[{_COLOURS[part.state]}]{part.state}[/]"
            addresses = "\n".join(part.addresses.values())
            table.add_row(
                part.name, "\n".join([how, *escape(part.explanation).splitlines()]), str(part.pid or ""), addresses
            )
        Console().print(table)
        typer.echo(f"logs: {_state(state) / 'logs'}")
    raise typer.Exit(0 if all(part.state == "running" for part in parts) else 1)


@commands.command()
def restart(
    part: Annotated[str, typer.Argument(help=f"One of {', '.join(PARTS)}.")],
    *,
    state: State = None,
) -> None:
    """Stop one part in an orderly way and start it again on the same port with the same data."""
    with _shown(Console(stderr=True)) as say:
        Stack.reopen(_state(state)).restart(part, say)


@commands.command()
def logs(
    part: Annotated[str, typer.Argument(help=f"One of {', '.join(PARTS)}.")],
    *,
    state: State = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written; Ctrl-C ends it.")] = False,
) -> None:
    """Show what a part has logged."""
    log = _state(state) / "logs" / f"{part}.log"
    if not log.exists():
        logged = ", ".join(sorted(file.stem for file in log.parent.glob("*.log"))) or "nothing"
        raise Misconfigured(f"{part} has logged nothing in {log.parent}; there is {logged}")
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run(["tail", "-n", str(lines), "-F", str(log)], check=False)
        return
    with log.open(errors="replace") as written:
        typer.echo("".join(collections.deque(written, lines)), nl=False)


@commands.command()
def env(*, state: State = None) -> None:
    """Print the settings that point eyestream at this stack: `eval "$(eyestream local env)"`."""
    _export(Endpoints.read(_state(state)))


@commands.command()
def check() -> None:
    """Say what this machine lacks for the local stack, and what mends it."""
    raise typer.Exit(preflight.main())


def project() -> Path:
    """The checkout that the working folder is in, else the working folder itself."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "model_repository").is_dir()), here)


def _state(given: Path | None) -> Path:
    return given or project() / ".eyestream"


def _check_machine(stack: Stack) -> None:
    found: dict[str, None] = {}
    for folder in (stack.state, default_cache()):
        found |= dict.fromkeys(preflight.problems(preflight.Machine.here(folder), needed_gib=_GIB_FOR_DATA))
    if found:
        raise Misconfigured("this machine lacks\n" + "\n".join(f"- {problem}" for problem in found))


def _export(endpoints: Endpoints) -> None:
    for name, value in endpoints.environment().items():
        typer.echo(f"export {name}={value}")


@contextlib.contextmanager
def _shown(console: Console) -> Iterator[Say]:
    """A line for each part that changes in place at a terminal, and is printed line by line elsewhere."""
    if not console.is_terminal:
        yield lambda part, line: console.print(f"{part}: {line}", highlight=False, markup=False, soft_wrap=True)
        return
    columns = (SpinnerColumn(finished_text="●"), TextColumn("{task.fields[part]:<8}"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def say(part: str, line: str) -> None:
            if part not in tasks:
                tasks[part] = bars.add_task(line, part=part, total=1)
            done = line in ("ready", "stopped", "already running")
            bars.update(tasks[part], description=escape(line), completed=int(done))

        yield say
