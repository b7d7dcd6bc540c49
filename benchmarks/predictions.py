"""What the planner says of each line that was measured, out of the costs of its parts alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from photographs import PARTITIONS
from tables import Table

from eyestream.planning import bench
from eyestream.planning.demand import Demand
from eyestream.planning.layout import Layout
from eyestream.planning.simulation import Simulation

_EXAMS = 300


def table(record: Mapping[str, Any], *, cores: int) -> Table:
    """Pictures a second, simulated and measured, of one worker on cores that it shares with every part."""
    told = Table(
        "The planner's prediction, pictures per second", ["model, pictures", "predicted", "measured", "off by"]
    )
    for name, sent in record["pictures"].items():
        for cell in (cell for cell in record["runs"] if cell.endswith(f", {name}")):
            model = cell.split(", ")[0]
            measured = statistics.median(run["per_s"] for run in record["runs"][cell]["line"])
            costs = bench.costs(record, model)
            demand = Demand(
                pictures_per_day=1,
                peak_hour_share=1,
                megapixels=sent["megapixels"],
                megabytes=sent["mean_bytes"] / 1e6,
            )
            layout = Layout(workers=1, instances=2, partitions=PARTITIONS, shared_cores=cores)
            outcome = Simulation(demand, costs, costs.engine(model, "cpu"), layout).run([0.0] * _EXAMS)
            off = outcome.per_s / measured - 1
            told.rows.append([cell, f"{outcome.per_s:.1f}", f"{measured:.1f}", f"{off:+.0%}"])
    return told
