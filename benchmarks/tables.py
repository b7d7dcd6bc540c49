"""The figures as tables, for the terminal and for a page; what is a ratio of what is decided here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import rich.table
from measuring import Rate

GOALS: dict[str, float | None] = {"efficiency": 0.90, "plain": 5.0, "careful": 1.05}

Runs = Mapping[str, Mapping[str, Sequence[Rate]]]


@dataclass(slots=True)
class Table:
    """Rows of text under names."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def rich(self) -> rich.table.Table:
        """For the terminal."""
        table = rich.table.Table(title=self.title, title_justify="left", header_style="bold")
        for number, name in enumerate(self.columns):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        rule = ["---"] + ["--:"] * (len(self.columns) - 1)
        rows = "\n".join(f"| {' | '.join(row)} |" for row in [self.columns, rule, *self.rows])
        return f"### {self.title}\n\n{rows}\n"


def line_tables(runs: Runs, parts: Sequence[str]) -> list[Table]:
    """Ratios with their goals, then what they are made of."""
    return [_ratios(runs, parts), _rates(runs), _spent(runs)]


def median_ratio(ones: Sequence[Rate], others: Sequence[Rate]) -> float:
    """Of rates of the same round."""
    return statistics.median(one.per_s / other.per_s for one, other in zip(ones, others, strict=True))


def cpu_ratio(ones: Sequence[Rate], others: Sequence[Rate]) -> float:
    """What the ratio of rates is where no core is ever idle and nobody else uses them: of the CPU a picture costs."""
    return statistics.median(other.total_ms / one.total_ms for one, other in zip(ones, others, strict=True))


def _ratios(runs: Runs, parts: Sequence[str]) -> Table:
    columns = ["figure", "model, pictures", "measured", "goal", "by CPU", "against"]
    table = Table("Ratios, medians over the rounds", columns)
    for cell, each in runs.items():
        line = each.get("line")
        if line is None:
            continue
        alone = {part: each[f"alone: {part}"] for part in parts}
        slowest = min(alone, key=lambda part: statistics.median(rate.per_s for rate in alone[part]))
        rows: list[tuple[str, Sequence[Rate], Sequence[Rate], float | None, str]] = [
            ("line efficiency", line, alone[slowest], GOALS["efficiency"], f"{slowest} alone")
        ]
        clients = [other for other in ("plain", "careful") if other in each]
        goals = (
            GOALS if cell.endswith("8MP") else {**GOALS, "plain": None}
        )  # small pictures are cheap to decode in full
        rows += [(f"against a {other} client", line, each[other], goals[other], "") for other in clients]
        if "serve" in each:
            rows.append(("on Ray Serve", each["serve"], line, None, "the worker without it"))
        for figure, ones, others, goal, against in rows:
            measured, cpu = f"{median_ratio(ones, others):.2f}", f"{cpu_ratio(ones, others):.2f}"
            table.rows.append([figure, cell, measured, f"≥ {goal:.2f}" if goal else "", cpu, against])
    return table


def _rates(runs: Runs) -> Table:
    table = Table("Pictures per second, each round", ["model, pictures", "who", "median", "rounds", "strangers"])
    for cell, each in runs.items():
        for who, rates in each.items():
            rounds = " ".join(f"{rate.per_s:.1f}" for rate in rates)
            strangers = f"{100 * statistics.median(rate.strangers for rate in rates):.0f} %"
            table.rows.append([cell, who, f"{statistics.median(r.per_s for r in rates):.1f}", rounds, strangers])
    return table


def _spent(runs: Runs) -> Table:
    groups = ("worker or client", "triton", "kafka", "redis")
    table = Table("CPU milliseconds for each picture, medians", ["model, pictures", "who", *groups, "all"])
    for cell, each in runs.items():
        for who, rates in each.items():
            by_group = [
                [next((ms for name, ms in rate.cpu_ms.items() if name not in groups), 0.0) for rate in rates],
                *([rate.cpu_ms.get(group, 0.0) for rate in rates] for group in groups[1:]),
            ]
            numbers = [f"{statistics.median(column):.2f}" for column in by_group]
            total = statistics.median(rate.total_ms for rate in rates)
            table.rows.append([cell, who, *numbers, f"{total:.2f}"])
    return table
