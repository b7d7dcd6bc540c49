"""How long pictures took in a load test, against what the planner says of the same arrivals.

    python benchmarks/load_predictions.py .eyestream/load/results/clinic-morning --megapixels 1.9 --megabytes 0.25

Takes the moments at which pictures came into Kafka from the test's own record, one worker on cores that it shares with
every part, and costs that ship or, with --costs, the bench's record of this machine.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np

from eyestream.planning import bench, costs
from eyestream.planning.demand import Demand
from eyestream.planning.layout import Layout
from eyestream.planning.simulation import Simulation

_MODEL = "eyestream-demo"


def pictures(folder: Path) -> tuple[list[float], np.ndarray]:
    """When each picture came into Kafka, in seconds from the first, and how long it then took to be stored."""
    rows = [row for file in folder.glob("pictures-*.csv") for row in csv.DictReader(file.open())]
    rows = sorted((row for row in rows if row["stored"]), key=lambda row: float(row["produced"]))
    if not rows:
        raise SystemExit(f"{folder} holds no pictures-*.csv with pictures that were stored")
    produced = np.array([float(row["produced"]) for row in rows])
    stored = np.array([float(row["stored"]) for row in rows])
    return list(produced - produced[0]), stored - produced


def main() -> None:
    """Say both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the load test's results")
    parser.add_argument("--megapixels", type=float, required=True)
    parser.add_argument("--megabytes", type=float, required=True)
    parser.add_argument("--costs", type=Path)
    given = parser.parse_args()
    known = bench.read(given.costs, _MODEL) if given.costs else costs.load(None)
    arrivals, took = pictures(given.folder)
    demand = Demand(
        pictures_per_day=1,
        peak_hour_share=1,
        megapixels=given.megapixels,
        megabytes=given.megabytes,
        pictures_per_exam=1,
    )
    layout = Layout(workers=1, instances=2, partitions=4, shared_cores=os.cpu_count() or 1)
    outcome = Simulation(demand, known, known.engine(_MODEL, "cpu"), layout).run(arrivals)
    print(f"{len(arrivals)} pictures, {len(arrivals) / arrivals[-1]:.1f} a second")
    for share in (50, 95, 99):
        predicted, measured = outcome.percentile(share), float(np.percentile(took, share))
        print(
            f"p{share}: predicted {predicted:.3f} s, measured {measured:.3f} s, off by {predicted / measured - 1:+.0%}"
        )


if __name__ == "__main__":
    main()
