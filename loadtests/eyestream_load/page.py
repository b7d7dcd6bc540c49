"""`report.html`: what was found on one page, with plots of every picture. Reads the summary and the pictures' CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eyestream_load import report
from eyestream_load.scenario import Scenario
from eyestream_load.section import STAGES

Times = Mapping[str, npt.NDArray[np.float64]]
"""Columns of the pictures' CSV, in seconds since the beginning, row for row."""

_SPANS: Final = (
    ("disk", "meant", "spooled"),
    ("kafka", "spooled", "produced"),
    ("queue", "produced", "fetched"),
    ("decode", "fetched", "decoded"),
    ("encode", "decoded", "encoded"),
    ("store", "encoded", "read"),
)
_COLOURS: Final = ("#7a8c99", "#b0562a", "#d9a441", "#5b8f6a", "#1f5a7a", "#7d5a8c")
_BINS: Final = 60
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b2329 }
table { border-collapse: collapse; width: 100% } td, th { padding: .25rem .6rem; text-align: right }
th { border-bottom: 2px solid #1b2329 } td { border-bottom: 1px solid #d5dade }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left } svg { width: 100%; height: auto }
.last { font-size: 1.15rem; font-weight: 600 } .wrong { color: #a4262c }
"""


def write(summary: dict[str, Any], plan: Scenario, folder: Path) -> None:
    """Write the page into the folder that the pictures' CSV lies in."""
    times = _read(folder, summary["begins_at"])
    parts = [
        f"<h1>{escape(plan.title)}</h1>",
        f'<p class="last">{escape(report.last_line(summary))}</p>',
        *(f"<p>{escape(text)}</p>" for text in report.remarks(summary)),
        *(f'<p class="wrong">wrong: {escape(fault)}</p>' for fault in summary["faults"]),
        "<h2>Seconds that each stage took</h2>",
        _table(summary),
    ]
    if times["meant"].size:
        parts += ["<h2>Every picture</h2>", _drawn(times, plan)]
    parts.append('<p>Requests and batches over time: <a href="locust.html">Locust\'s report</a>.</p>')
    name = escape(summary["scenario"])
    page = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>'
    (folder / "report.html").write_text(page + "\n".join(["<body>", *parts, "</body></html>\n"]))


def _table(summary: dict[str, Any]) -> str:
    names = ["stage", "from → to", "count", "per s", *report.NAMES, "longest"]
    rows = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"]
    for name, stage in summary["stages"].items():
        cells = [name, STAGES[name], f"{stage['count']:,}", report.number(stage["per_s"])]
        cells += [report.seconds(stage[key]) for key in (*report.NAMES, "longest")]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "<table>" + "".join(rows) + "</table>"


def _read(folder: Path, begins_at: float | None) -> Times:
    columns = sorted({name for _, *ends in _SPANS for name in ends})
    rows: list[list[float]] = []
    for file in sorted(folder.glob("pictures-*.csv")):
        with file.open(newline="") as lines:
            rows += [[float(row[name]) for name in columns] for row in csv.DictReader(lines)]
    values = np.array(rows, dtype=np.float64).reshape(-1, len(columns)) - (begins_at or 0.0)
    values = values[np.argsort(values[:, columns.index("meant")])]
    return {name: values[:, number] for number, name in enumerate(columns)}


def _drawn(times: Times, plan: Scenario) -> str:
    figure = Figure(figsize=(10, 9), layout="constrained")
    whole, stages, rates = figure.subplots(3, 1, sharex=True)
    _draw_whole(whole, times)
    _draw_stages(stages, times)
    _draw_rates(rates, times)
    for axes in (whole, stages, rates):
        if plan.outage:
            axes.axvspan(
                plan.outage.begins_s, plan.outage.ends_s, color="#b0562a", alpha=0.12, label="way to Kafka cut"
            )
        if plan.bank_swap:
            axes.axvline(plan.bank_swap.at_s, color="#1b2329", linestyle=":", label="new bank")
        axes.legend(loc="upper right", fontsize="small", ncols=2)
    text = io.StringIO()
    figure.savefig(text, format="svg")
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _draw_whole(axes: Axes, times: Times) -> None:
    took = times["read"] - times["meant"]
    axes.scatter(times["meant"], took, s=4, color="#1f5a7a", alpha=0.4, linewidths=0, label="a picture")
    middles, binned = _bins(times["meant"])
    for percent, style in ((50, "-"), (95, "--")):
        line = [np.percentile(took[binned == number], percent) for number in np.unique(binned)]
        axes.plot(middles[np.unique(binned)], line, style, color="#1b2329", linewidth=1, label=f"p{percent}")
    axes.set(ylabel="seconds from meant to read", ylim=(0, None))


def _draw_stages(axes: Axes, times: Times) -> None:
    middles, binned = _bins(times["meant"])
    numbers = np.unique(binned)
    means = [
        [float(np.mean((times[end] - times[begin])[binned == number])) for number in numbers]
        for _, begin, end in _SPANS
    ]
    names = [name for name, *_ in _SPANS]
    axes.stackplot(middles[numbers], means, labels=names, colors=_COLOURS)
    axes.set(ylabel="mean seconds in each stage", ylim=(0, None))


def _draw_rates(axes: Axes, times: Times) -> None:
    edges = np.linspace(0.0, max(float(times["read"].max()), 1.0), _BINS + 1)
    for name, style in (("meant", "--"), ("read", "-")):
        counts, _ = np.histogram(times[name], edges)
        axes.step(edges[1:], counts / np.diff(edges), style, color="#1f5a7a", linewidth=1, label=name)
    axes.set(xlabel="seconds since the beginning", ylabel="pictures a second", ylim=(0, None))


def _bins(meant: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The middles of equal spans of time, and in which of them each picture lies."""
    edges = np.linspace(float(meant.min()), float(meant.max()) + 1e-6, _BINS + 1)
    return (edges[1:] + edges[:-1]) / 2, np.digitize(meant, edges[1:-1]).astype(np.int64)
