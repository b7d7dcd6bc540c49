"""`eyestream drill`: break every part of the line while thousands of pictures flow, and count what comes out."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from eyestream.apps.drills.accounts import Account
from eyestream.apps.drills.ground import Ground
from eyestream.apps.drills.scenarios import SCENARIOS, Scenario, chosen
from eyestream.apps.local.processes import ending_on_sigterm
from eyestream.errors import Unavailable

FEWEST: Final = 100
"""Pictures of one scenario: fewer are screened before anything can be broken."""


@ending_on_sigterm()
def drill(
    *,
    pictures: Annotated[int, typer.Option(help="Pictures of all scenarios together.")] = 6000,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; repeat for more. One of: " + ", ".join(s.name for s in SCENARIOS)),
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder of the drills' own stack.")] = Path(".eyestream/drill"),
    model_repository: Annotated[Path, typer.Option(help="Triton's folder of models.")] = Path("model_repository"),
    model: Annotated[str, typer.Option(help="The encoder in it.")] = "eyestream-demo",
    text_tower: Annotated[Path, typer.Option(help="Folder of its text tower.")] = Path("build_engines/demo/text"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
) -> None:
    """Kill, halt, cut off and exchange every part while pictures flow; exit 1 when one was lost or contradicted."""
    console = _console()
    try:
        wanted = chosen(scenario or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    each = max(FEWEST, -(-pictures // len(wanted)))
    ground = Ground(state, model_repository=model_repository, model=model, text_tower=text_tower)
    accounts: list[Account] = []
    failures: list[str] = []
    try:
        with _progress(console) as progress:
            task = progress.add_task("starting Kafka, Redis and Triton", total=None)
            ground.up(lambda part, line: progress.update(task, description=f"{part}: {line}"))
            progress.update(task, description="drawing pictures", total=each, completed=0)
            ground.prepare(each, drawn=lambda: progress.advance(task))
            progress.remove_task(task)
            for one in wanted:
                account = _hold(one, ground, each, progress)
                if isinstance(account, Account):
                    accounts.append(account)
                    failures += [f"{one.name}: {fault}" for fault in account.faults]
                else:
                    failures.append(f"{one.name} could not be held: {account}")
    finally:
        if not keep:
            with console.status("stopping"):
                ground.down()
    console.print(table(wanted, accounts))
    for failure in failures:
        console.print(f"[red]{failure}[/]")
    print(last_line(accounts))
    if failures or not all(account.balanced for account in accounts):
        raise typer.Exit(1)


def table(scenarios: list[Scenario], accounts: list[Account]) -> Table:
    """One row a drill."""
    told = {scenario.name: scenario.broken for scenario in scenarios}
    shown = Table(box=None)
    shown.add_column("scenario", no_wrap=True)
    shown.add_column("what was done")
    for name in ("pictures", "lost", "conflicts", "duplicates", "flows again", "took"):
        shown.add_column(name, justify="right")
    for account in accounts:
        flows = "" if account.flows_after_s is None else f"after {account.flows_after_s:.1f} s"
        numbers = (account.pictures, account.lost, account.conflicts, account.duplicates)
        colour = "" if account.balanced else "red"
        shown.add_row(
            account.scenario, told[account.scenario], *map(str, numbers), flows, f"{account.took_s:.0f} s", style=colour
        )
    return shown


def last_line(accounts: list[Account]) -> str:
    """What a script reads."""
    return (
        f"drill: {len(accounts)} scenarios, {sum(a.pictures for a in accounts)} pictures, "
        f"lost {sum(a.lost for a in accounts)}, conflicts {sum(a.conflicts for a in accounts)}, "
        f"duplicates {sum(a.duplicates for a in accounts)}"
    )


def _console() -> Console:
    """The terminal; wide enough for the table where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def _hold(scenario: Scenario, ground: Ground, pictures: int, progress: Progress) -> Account | Unavailable:
    """The scenario's books, or why there are none."""
    task = progress.add_task(scenario.name, total=pictures)
    try:
        account = scenario.run(
            ground,
            pictures=pictures,
            mark=f"d{secrets.token_hex(3)}",
            watch=lambda ended: progress.update(task, completed=ended),
        )
    except Unavailable as error:
        return error
    progress.update(task, completed=pictures - account.lost)
    return account


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console)
