"""What a load test found: one summary, as a table, a last line, JSON and CSV. Reads the books; knows nothing else."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from eyestream_load.books import PERCENTILES, Books
from eyestream_load.conductor import Conductor
from eyestream_load.scenario import Scenario
from eyestream_load.section import STAGES

NAMES: Final = ("p50", "p95", "p99", "p99.9")
_MOST_TOLD: Final = 20
_OWN_SHARE: Final = 0.3


def summarise(conductor: Conductor, *, interrupted: bool = False) -> dict[str, Any]:
    """Everything that was found, as JSON has it. Times are seconds; None where there is nothing to measure."""
    scenario, books, planned = conductor.scenario, conductor.books, conductor.planned
    counts = books.counts
    lost = planned["pictures"] - counts["readable"]
    faults = list(books.faults)
    if unsent := planned["pictures"] - counts["spooled"] - counts["not-taken"]:
        faults.append(f"{unsent} pictures were never taken")
    if waiting := counts["spooled"] - counts["sent"]:
        faults.append(f"{waiting} pictures were still in a spool at the end, or had no acknowledgement")
    asked_for = (("pictures", scenario.cameras), ("batches", scenario.triton), ("sessions", scenario.readers))
    # Chance may give a low rate no arrival at all, and a test of nothing must not look like one that went well.
    faults += [
        f"no {name} were planned: raise the rate, or --seconds"
        for name, part in asked_for
        if part and not planned[name]
    ]
    for name, ended in (("batches", counts["batches"]), ("sessions", counts["sessions"])):
        if missing := planned[name] - ended:
            faults.append(f"{missing} {name} of {planned[name]} had no end")
    if interrupted:
        faults.append("the test was interrupted")
    swap = _swap(scenario, books)
    if scenario.bank_swap and swap is None:
        faults.append("no result names the bank that was put into service")
    began, ended_at = books.firsts.get("meant"), books.moments.get("read")
    took = ended_at - began if began is not None and ended_at is not None else None
    return {
        "scenario": scenario.name,
        "begins_at": conductor.begins_at,
        "seconds": scenario.seconds,
        "seed": scenario.seed,
        "arrivals": scenario.arrivals,
        "cameras": scenario.cameras.count if scenario.cameras else 0,
        "pictures": {
            "planned": planned["pictures"],
            "read": counts["readable"],
            "lost": lost,
            "refused": counts["refused"],
            "contradicted": counts["contradicted"],
        },
        "offered_per_s": _rate(planned["pictures"], scenario.seconds),
        "pictures_per_s": _rate(counts["readable"], took),
        "batches": {"planned": planned["batches"], "answered": counts["batches"], "failed": counts["batches failed"]},
        "sessions": {
            "planned": planned["sessions"],
            "decided": counts["sessions decided"],
            "handed back": counts["sessions handed back"],
            "overtaken": counts["sessions overtaken"],
            "nothing to read": counts["sessions idle"],
            "failed": counts["sessions failed"],
        },
        "stages": {name: _stage(books, name) for name in STAGES if name in books.stages},
        "banks": dict(books.banks),
        "caught_up_after_s": _caught_up(conductor),
        "bank_taken_up_after_s": swap,
        "faults": faults,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
    }


def good(summary: dict[str, Any]) -> bool:
    """Nothing lost, nothing contradicted, everything answered."""
    failed = summary["batches"]["failed"] + summary["sessions"]["failed"]
    return not (summary["pictures"]["lost"] or summary["pictures"]["contradicted"] or summary["faults"] or failed)


def last_line(summary: dict[str, Any]) -> str:
    """What a script reads."""
    pictures, whole = summary["pictures"], summary["stages"].get("end to end", {})
    return (
        f"load: {pictures['read']} pictures, lost {pictures['lost']}, "
        f"p95 {seconds(whole.get('p95'))} s, {number(summary['pictures_per_s'])} pictures/s"
    )


def show(summary: dict[str, Any], console: Console) -> None:
    """The table, what is wrong, and the last line."""
    table = Table(
        title=f"{summary['scenario']}: seconds a picture, batch or reader took", title_justify="left", box=None
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    for name in ("count", "per s", *NAMES, "longest"):
        table.add_column(name, justify="right")
    for name, stage in summary["stages"].items():
        times = [seconds(stage[percentile]) for percentile in (*NAMES, "longest")]
        table.add_row(name, STAGES[name], f"{stage['count']:,}", number(stage["per_s"]), *times)
    console.print(table)
    for text in remarks(summary):
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    for fault in summary["faults"][:_MOST_TOLD]:
        console.print(f"wrong: {fault}", highlight=False, markup=False, soft_wrap=True)
    if more := len(summary["faults"]) - _MOST_TOLD:
        console.print(f"… and {more} more in summary.json") if more > 0 else None
    console.print(last_line(summary), highlight=False, markup=False, soft_wrap=True)


def write(summary: dict[str, Any], folder: Path) -> None:
    """`summary.json` and `stages.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    with (folder / "stages.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["stage", "from → to", "count", "per_s", "mean", *NAMES, "longest"])
        for name, stage in summary["stages"].items():
            numbers = [stage[key] for key in ("count", "per_s", "mean", *NAMES, "longest")]
            table.writerow([name, STAGES[name], *numbers])


def remarks(summary: dict[str, Any]) -> list[str]:
    """What a table does not say, in sentences."""
    told = [f"offered {number(summary['offered_per_s'])} pictures/s"] if summary["pictures"]["planned"] else []
    stages = summary["stages"]
    if "disk" in stages and stages["disk"]["p95"] > _OWN_SHARE * stages.get("end to end", stages["disk"])["p95"]:
        told.append(
            f"{_OWN_SHARE:.0%} or more of p95 had passed before a picture was on its device's disk: "
            "this machine, or the load test itself, was slow there, and not the line"
        )
    if held := summary.get("memory_mib"):
        parts = (f"{part} {size['warm']:.0f} → {size['end']:.0f}" for part, size in held.items())
        told.append("memory in MiB, warm → at the end: " + ", ".join(parts))
    if summary["caught_up_after_s"] is not None:
        told.append(f"caught up {summary['caught_up_after_s']:.1f} s after the outage")
    if summary["bank_taken_up_after_s"] is not None:
        told.append(f"first result of the new bank read {summary['bank_taken_up_after_s']:.1f} s after it was put in")
    if summary["batches"]["planned"]:
        told.append("batches: " + ", ".join(f"{count} {name}" for name, count in summary["batches"].items()))
    if summary["sessions"]["planned"]:
        told.append("readers: " + ", ".join(f"{count} {name}" for name, count in summary["sessions"].items()))
    return told


def _stage(books: Books, name: str) -> dict[str, float | int | None]:
    book = books.stages[name]
    began, ended = books.firsts.get("meant"), books.moments.get("read")
    took = ended - began if began is not None and ended is not None else None
    times = {key: book.percentile(percent) for key, percent in zip(NAMES, PERCENTILES, strict=True)}
    return {
        "count": book.count,
        "per_s": _rate(book.count, took),
        "mean": book.sum_s / book.count,
        **times,
        "longest": book.longest_s,
    }


def _caught_up(conductor: Conductor) -> float | None:
    outage, read = conductor.scenario.outage, conductor.books.moments.get("backlog read")
    if outage is None or read is None or conductor.begins_at is None:
        return None
    return read - (conductor.begins_at + outage.ends_s)


def _swap(scenario: Scenario, books: Books) -> float | None:
    """From putting the new bank into service to its first result."""
    if scenario.bank_swap is None:
        return None
    for name, at in books.moments.items():
        bank = name.removeprefix("activated ")
        if bank != name and (first := books.firsts.get(f"read with {bank}")) is not None:
            return first - at
    return None


def _rate(count: int, seconds: float | None) -> float | None:
    return count / seconds if seconds else None


def seconds(value: float | None) -> str:
    """As a table shows a time."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def number(value: float | None) -> str:
    """As a table shows a rate."""
    return "–" if value is None else f"{value:.1f}"
