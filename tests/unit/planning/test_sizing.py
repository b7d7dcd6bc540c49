"""How many of everything, and the costs it is worked out from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eyestream.errors import Misconfigured
from eyestream.planning import bench, costs, sizing
from eyestream.planning.costs import Costs, Engine
from eyestream.planning.demand import Demand, usual_megabytes
from eyestream.planning.sizing import Keeping

SHIPPED = costs.load(None)
FAST = Engine(request_ms=1, picture_ms=1)
COUNTRY = Demand(pictures_per_day=400_000, peak_hour_share=0.2, megapixels=10, megabytes=usual_megabytes(10))


def layout(demand: Demand = COUNTRY, engine: Engine = FAST, **more):
    return sizing.layout(demand, SHIPPED, engine, **{"load": 0.7, "cores": 2, "max_batch": 8, **more})


def test_the_peak_is_the_busiest_hours_mean():
    assert COUNTRY.peak_per_s == pytest.approx(400_000 * 0.2 / 3600)
    exams = list(COUNTRY.exams(3600, 1))
    assert 4 * len(exams) == pytest.approx(80_000, rel=0.05)
    assert exams == sorted(exams)


def test_no_part_is_worked_harder_than_asked():
    many = replace(COUNTRY, pictures_per_day=20_000_000)
    chosen = layout(many)
    cpu_ms = SHIPPED.judge_ms + 2.5 * SHIPPED.fetch_ms_per_megabyte + SHIPPED.decode_ms(10)
    assert many.peak_per_s * cpu_ms / 1000 <= 0.7 * 2 * chosen.workers
    assert many.peak_per_s * cpu_ms / 1000 > 0.7 * 2 * (chosen.workers - 1), "and no worker more than that takes"
    engine_ms = 1 / 8 + 1
    assert 0.7 * (chosen.instances - 1) < many.peak_per_s * engine_ms / 1000 <= 0.7 * chosen.instances
    assert chosen.partitions >= 2 * chosen.workers


def test_the_smallest_programme_still_gets_two_workers():
    chosen = layout(replace(COUNTRY, pictures_per_day=100))
    assert (chosen.workers, chosen.instances, chosen.partitions) == (2, 1, 8)


@pytest.mark.parametrize("load", [0, 1, 1.5])
def test_a_load_that_cannot_be_is_refused(load):
    with pytest.raises(Misconfigured, match="between 0 and 1"):
        layout(load=load)


def test_what_fills_up_is_what_comes_times_how_long_it_is_kept():
    fills = sizing.storage(COUNTRY, SHIPPED, Keeping(kafka_days=3, replicas=3, results_days=365, archive_days=10))
    assert fills.kafka == pytest.approx(400_000 * 2.5e6 * 9, rel=0.06)
    assert fills.redis == 400_000 * SHIPPED.result_bytes * 365
    assert fills.archive == pytest.approx(400_000 * 2.5e6 * 10)


def test_decoding_costs_lie_on_lines_between_and_beyond_what_was_measured():
    near, far = sorted((point.megapixels, point.cpu_ms) for point in SHIPPED.decoding)
    assert SHIPPED.decode_ms(near[0]) == pytest.approx(near[1])
    assert SHIPPED.decode_ms((near[0] + far[0]) / 2) == pytest.approx((near[1] + far[1]) / 2)
    beyond = far[1] + (far[1] - near[1])
    assert SHIPPED.decode_ms(2 * far[0] - near[0]) == pytest.approx(beyond)


def test_an_engine_that_was_measured_is_believed_and_another_is_said_to_be_assumed():
    assert SHIPPED.engine("eyestream-demo", "cpu").measured
    assumed = SHIPPED.engine("retfound-cfp", "h100")
    assert not assumed.measured
    assert assumed.picture_ms == pytest.approx(123.11 / (989 * costs.ASSUMED_EFFICIENCY))


@pytest.mark.parametrize(
    ("encoder", "gpu", "says"), [("no-such", "h100", "no encoder no-such"), ("flair", "tpu", 'engines."flair@tpu"')]
)
def test_what_nobody_knows_is_asked_for(encoder, gpu, says):
    with pytest.raises(Misconfigured, match=says):
        SHIPPED.engine(encoder, gpu)


def test_the_table_of_arithmetic_names_encoders_of_the_shelf():
    shelf = Path(__file__).parents[3] / "build_engines" / "encoders"
    unknown = set(costs.work().gflop) - {path.stem for path in shelf.glob("*.toml")}
    assert not unknown


def test_costs_of_ones_own_replace_those_that_ship(tmp_path):
    path = tmp_path / "costs.toml"
    path.write_text(
        'source = "ours"\nfetch_ms_per_megabyte = 1\njudge_ms = 1\nbroker_ms_per_megabyte = 1\nredis_ms = 1\n'
        "store_ms = 1\nresult_bytes = 1\ndecoding = [{megapixels = 2, cpu_ms = 8}]\n"
        '[engines."flair@l4"]\nrequest_ms = 1\npicture_ms = 2\n'
    )
    own = costs.load(path)
    assert own.engine("flair", "l4").picture_ms == 2
    assert own.decode_ms(4) == 16


@pytest.mark.parametrize("text", ["source = ", "source = 1", 'source = "ours"\nunknown = 1', "\xff"])
def test_a_file_that_holds_no_costs_is_refused_by_name(tmp_path, text):
    path = tmp_path / "costs.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Misconfigured, match=r"costs\.toml"):
        costs.load(path)


def test_the_benchs_record_is_costs(tmp_path):
    path = Path(__file__).with_name("bench.json")
    read = bench.read(path, "eyestream-demo")
    assert isinstance(read, Costs)
    assert read.decode_ms(8.185344) == pytest.approx(19.25)
    assert read.engine("eyestream-demo", "cpu").on_cpu
    with pytest.raises(Misconfigured, match=r"no line with flair.*eyestream-demo, vit-ti"):
        bench.read(path, "flair")
    (tmp_path / "latest.json").write_text(json.dumps({"runs": []}))
    with pytest.raises(Misconfigured, match="make bench"):
        bench.read(tmp_path / "latest.json", "eyestream-demo")
