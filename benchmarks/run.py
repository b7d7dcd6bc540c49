"""What this machine does with the line, as ratios within one run: contestants take turns, medians over the rounds.

    python benchmarks/run.py [--quick] [--only line decode redis reads] [--cells vit-ti/8MP ...] [--contestants ...]

Starts a stack of its own and ends it. Prints tables; writes benchmarks/results/latest.json and latest.md, and with
--page puts them into docs/figures.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import decode
import exam_reads
import measuring
import predictions
import redis_writes
from course import CLIENTS, DEMO, MODELS, PARTS, PICTURES, Cell, Course
from measuring import Rate
from rich.console import Console
from tables import Table, line_tables

from eyestream.apps.local.processes import ending_on_sigterm

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = ROOT / "docs" / "figures.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
PARTS_OF_PAGE: Final = ("line", "decode", "redis", "reads")
CONTESTANTS: Final = ("plain", "careful", "line", "serve")
FASTEST: Final = {"8MP": 90, "1024": 260}
"""More pictures per second than any contestant is expected to do: so many wait for each second of a race."""

Runs = dict[str, dict[str, list[Rate]]]
"""Cell → contestant, or `alone: part` → one rate a round."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells = [f"{model}/{pictures}" for model in MODELS for pictures in PICTURES]
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, not how fast is it")
    parser.add_argument("--rounds", type=int, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, help="of each turn")
    parser.add_argument("--within-s", type=float, default=450.0, help="begin no round that would end later")
    parser.add_argument("--only", nargs="+", choices=PARTS_OF_PAGE, default=list(PARTS_OF_PAGE))
    parser.add_argument("--cells", nargs="+", choices=cells, default=cells, help="model/pictures")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--state", type=Path, default=ROOT / ".eyestream" / "bench", help="folder of its stack")
    parser.add_argument("--page", action="store_true", help="put the figures into docs/figures.md")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.seconds = given.seconds or (3.0 if given.quick else 6.0)
    return given


def entrants(cell: Cell, chosen: Sequence[str]) -> list[str]:
    """Who races there.

    The clients only where their pixels are the encoder's: the demo's wants the field of view cut out, which they do
    not do. Ray Serve is set against the worker without it once, where pictures come fastest.
    """
    here = {"line": True, "serve": cell == Cell(DEMO, "1024"), **dict.fromkeys(CLIENTS, cell.model != DEMO)}
    return [one for one in CONTESTANTS if one in chosen and here[one]]


def races(given: argparse.Namespace, console: Console) -> tuple[Runs, Course]:
    """Every contestant on every cell, round by round; a line's parts alone right after it."""
    course = Course(ROOT, given.state)
    cells = [Cell(*name.split("/")) for name in given.cells]
    runs: Runs = defaultdict(lambda: defaultdict(list))
    with course.open(say=console.log):
        for pictures in dict.fromkeys(cell.pictures for cell in cells):
            course.send(pictures, int(FASTEST[pictures] * (given.seconds + 3)))
        began, longest = time.monotonic(), 0.0
        for turn in range(given.rounds):
            started = time.monotonic()
            if started - began + longest > given.within_s:
                console.log(f"no time for round {turn + 1}: {given.within_s:.0f} s were given")
                break
            for cell in cells:
                for contestant in entrants(cell, given.contestants):
                    rate = course.race(contestant, cell, seconds=given.seconds)
                    runs[str(cell)][contestant].append(rate)
                    console.log(f"round {turn + 1}: {cell}: {contestant} {_brief(rate)}")
                    if contestant == "line":
                        for part, rate in course.alone(cell, seconds=given.seconds / 3).items():
                            runs[str(cell)][f"alone: {part}"].append(rate)
                            console.log(f"round {turn + 1}: {cell}: {part} alone {_brief(rate)}")
            longest = max(longest, time.monotonic() - started)
    return runs, course


def _brief(rate: Rate) -> str:
    spent = ", ".join(f"{name} {ms:.1f}" for name, ms in rate.cpu_ms.items())
    return f"{rate.per_s:.1f}/s ({rate.pictures}; CPU ms: {spent}; others {100 * rate.strangers:.0f} % of the cores)"


def decoding(rounds: int) -> Table:
    """CPU milliseconds to 512 px, and how many times ours the others take."""
    table = Table("Decode to 512 px, CPU ms of one thread", ["picture", *(c.__name__ for c in decode.CONTESTANTS)])
    for name, value in decode.rendered().items():
        spent = decode.measure(value, 512, rounds)
        ours = spent["ours"]
        table.rows.append([name, *(f"{ms:.1f} (× {ms / ours:.2f})" for ms in spent.values())])
    return table


def writing(results: int) -> Table:
    """Results per second into Redis."""
    table = Table("Results stored per second", ["way", "results/s", "client µs", "server µs"])
    many = redis_writes.pictures(results)
    few = many[: len(many) // 8]
    ways = {
        "one result a call": (few, 1, 1),
        "batches of 8, 4 in flight": (many, 8, 4),
        "batches of 64": (many, 64, 1),
    }
    for label, (sent, batch, in_flight) in ways.items():

        def store(url: str, sent: Any = sent, batch: int = batch, in_flight: int = in_flight) -> Any:
            return redis_writes.stored(url, sent, batch=batch, in_flight=in_flight, fsync=False)

        _, _, cost = redis_writes.measured(label, "everysec", store)
        table.rows.append([label, f"{cost.rate:,.0f}", f"{cost.client_us:.0f}", f"{cost.server_us:.0f}"])
    return table


def reading(reads: int) -> Table:
    """Exams read over HTTP, and what the service alone spent on one."""
    table = Table("Exams read over HTTP", ["processes", "reads/s", "CPU ms of the service", "two cores of its own"])
    for processes in (1, 2):
        done = exam_reads.measured(processes, reads)
        alone = 2000 / done.cpu_ms
        table.rows.append([str(processes), f"{done.per_s:,.0f}", f"{done.cpu_ms:.2f}", f"{alone:,.0f} reads/s"])
    return table


@ending_on_sigterm()
def main() -> None:
    """Measure what was asked for and say it."""
    given, console, began = options(), Console(), time.monotonic()
    facts = measuring.facts()
    for name, value in facts.items():
        console.print(f"{name}: {value}")
    tables: list[Table] = []
    rounds = 0
    record: dict[str, Any] = {"facts": facts, "seconds": given.seconds}
    if "line" in given.only:
        runs, course = races(given, console)
        record["runs"] = {
            cell: {who: [asdict(rate) for rate in rates] for who, rates in each.items()} for cell, each in runs.items()
        }
        record["pictures"] = course.sent
        facts |= {f"{name} pictures": f"{sent['mean_bytes'] / 1024:.0f} KiB" for name, sent in course.sent.items()}
        tables += line_tables(runs, PARTS)
        if "line" in given.contestants:
            tables.append(predictions.table(record, cores=os.cpu_count() or 1))
        rounds = max(len(rates) for each in runs.values() for rates in each.values())
    if "decode" in given.only:
        tables.append(decoding(3 if given.quick else 7))
    if "redis" in given.only:
        tables.append(writing(1024 if given.quick else 4096))
    if "reads" in given.only:
        tables.append(reading(600 if given.quick else 6000))
    facts["load at end"] = measuring.facts()["load at start"]
    facts["took"] = f"{time.monotonic() - began:.0f} s, {rounds} rounds of {given.seconds:.0f} s"
    for table in tables:
        console.print(table.rich())
    RESULTS.mkdir(exist_ok=True)
    record["tables"] = [asdict(table) for table in tables]
    (RESULTS / "latest.json").write_text(json.dumps(record, indent=1) + "\n")
    told = "".join(f"- {name}: {value}\n" for name, value in facts.items())
    page = told + "\n" + "\n".join(table.markdown() for table in tables)
    (RESULTS / "latest.md").write_text(page)
    if given.page:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{page}\n{END}{rest.partition(END)[2]}")
    console.print(f"{facts['took']}; written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
