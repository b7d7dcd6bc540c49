"""The planner's queues against arithmetic that can be done by hand, and against what was measured."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eyestream.planning import bench
from eyestream.planning.costs import Costs, Decoding, Engine
from eyestream.planning.demand import Demand
from eyestream.planning.layout import Layout
from eyestream.planning.simulation import Simulation

RECORD = json.loads(Path(__file__).with_name("bench.json").read_text())
"""The medians of docs/figures.md, as `make bench` writes them."""
CHEAP = Costs(
    source="a test",
    decoding=(Decoding(megapixels=1, cpu_ms=0.001),),
    fetch_ms_per_megabyte=0,
    judge_ms=0.001,
    broker_ms_per_megabyte=0,
    redis_ms=0.001,
    store_ms=1,
    result_bytes=1,
)
ONE = Layout(workers=1, instances=1, partitions=4)


def demand(per_s: float = 10.0, **more) -> Demand:
    return Demand(
        pictures_per_day=round(per_s * 3600), peak_hour_share=1, megapixels=1, megabytes=0.1, **more
    )  # fmt: skip


def test_every_picture_is_stored_once_and_never_before_it_came():
    asked = demand(50)
    exams = list(asked.exams(30, 1))
    outcome = Simulation(asked, CHEAP, Engine(request_ms=1, picture_ms=1), replace(ONE, workers=3)).run(exams)
    assert outcome.done.size == 4 * len(exams)
    assert (outcome.latencies > 0).all()
    assert outcome.waiting[-1] <= outcome.waiting.max() < outcome.done.size


def test_the_same_seed_gives_the_same_outcome():
    def once(seed):
        asked = demand()
        exams = list(asked.exams(20, seed))
        return Simulation(asked, CHEAP, Engine(request_ms=1, picture_ms=1), ONE, seed=seed).run(exams).latencies

    assert np.array_equal(once(3), once(3))
    assert not np.array_equal(once(3), once(4))


def test_a_flooded_engine_gives_what_its_batches_allow():
    """Full batches of 8 at 20 ms + 8 × 5 ms: 8 pictures in 60 ms from each of two instances."""
    layout = replace(ONE, instances=2)
    outcome = Simulation(demand(), CHEAP, Engine(request_ms=20, picture_ms=5), layout).run([0.0] * 400)
    assert outcome.per_s == pytest.approx(2 * 8 / 0.060, rel=0.02)
    assert outcome.busy["engine"] == pytest.approx(1, abs=0.02)


def test_flooded_decoders_give_what_their_cores_allow():
    costs = CHEAP.model_copy(update={"decoding": (Decoding(megapixels=1, cpu_ms=10),)})
    layout = replace(ONE, cores=2, decoders=4)
    outcome = Simulation(demand(), costs, Engine(request_ms=1, picture_ms=0.1), layout).run([0.0] * 200)
    assert outcome.per_s == pytest.approx(200, rel=0.03), "two cores, however many threads"
    assert outcome.busy["workers' cores"] == pytest.approx(1, abs=0.03)


def test_a_lone_picture_waits_for_fellows_that_do_not_come():
    outcome = Simulation(demand(pictures_per_exam=1), CHEAP, Engine(request_ms=2, picture_ms=3), ONE).run([1])
    assert outcome.latencies == pytest.approx([0.050 + 0.005 + 0.001], abs=1e-4)


def test_a_full_batch_waits_for_nobody():
    outcome = Simulation(demand(pictures_per_exam=8), CHEAP, Engine(request_ms=2, picture_ms=3), ONE).run([1])
    assert outcome.latencies == pytest.approx([0.026 + 0.001] * 8, abs=1e-3)


def test_an_exam_stays_with_the_worker_of_its_partition():
    """One exam at a time: more workers cannot help it."""
    costs = CHEAP.model_copy(update={"decoding": (Decoding(megapixels=1, cpu_ms=10),)})
    layout = replace(ONE, cores=1, decoders=1, max_wait_s=0)
    for workers in (1, 4):
        outcome = Simulation(
            demand(pictures_per_exam=8), costs, Engine(request_ms=0, picture_ms=0.01), replace(layout, workers=workers)
        ).run([0.0])
        assert outcome.latencies.max() == pytest.approx(0.080, abs=0.005)


@pytest.mark.parametrize("pictures", ["8MP", "1024"])
@pytest.mark.parametrize("model", ["eyestream-demo", "vit-ti"])
def test_lines_that_were_measured_are_predicted_from_their_parts(model, pictures):
    measured = statistics.median(run["per_s"] for run in RECORD["runs"][f"{model}, {pictures}"]["line"])
    sent = RECORD["pictures"][pictures]
    asked = replace(demand(), megapixels=sent["megapixels"], megabytes=sent["mean_bytes"] / 1e6)
    costs = bench.costs(RECORD, model)
    layout = Layout(workers=1, instances=2, partitions=6, shared_cores=2)
    outcome = Simulation(asked, costs, costs.engine(model, "cpu"), layout).run([0.0] * 200)
    assert outcome.per_s == pytest.approx(measured, rel=0.15)
