"""Load tests as a person runs them, on a stack of their own: one process, several, and a line that does not answer."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from eyestream.apps.local.processes import inherited_environment
from eyestream_load import arrivals, report, scenario
from eyestream_load.__main__ import play
from eyestream_load.ground import Ground

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]

EVERYTHING = """\
title = "Everything at once, for some seconds"
seconds = 9
patience_s = 90
seed = 5
photographs = { distinct = 6, height = 300, width = 400 }
cameras = { count = 3, rate = [[0, 6]], between_s = 0.2 }
triton = { count = 1, rate = [[0, 1]], batch = 4 }
readers = { count = 2, rate = [[0, 0], [3, 0], [4, 2]], decides = 0.5 }
outage = { begins_s = 1, lasts_s = 4, share = 0.67 }
bank_swap = { at_s = 6 }
"""
PICTURES_ALONE = """\
title = "Pictures and nothing else"
seconds = 4
patience_s = {patience}
photographs = {{ distinct = 6, height = 300, width = 400 }}
cameras = {{ count = 4, rate = [[0, 8]], between_s = 0.2 }}
"""


@pytest.fixture(scope="module")
def ground(state: Path) -> Iterator[Ground]:
    ground = Ground(
        state,
        model_repository=ROOT / "model_repository",
        model="eyestream-demo",
        text_tower=ROOT / "build_engines/demo/text",
        plain=True,
        readers=True,
    )
    try:
        ground.up()
        yield ground
    finally:
        ground.down()


def run(ground: Ground, folder: Path, text: str, *, workers: int = 0) -> dict:
    file = folder / "mine.toml"
    file.write_text(text)
    return play(scenario.load(str(file)), str(file), ground, folder, workers=workers)


def said(folder: Path) -> str:
    return "\n".join(log.read_text() for log in sorted(folder.glob("*.log")))


def pictures_of(folder: Path) -> list[dict[str, str]]:
    rows = []
    for file in folder.glob("pictures*.csv"):
        with file.open(newline="") as lines:
            rows += csv.DictReader(lines)
    return rows


@pytest.fixture(scope="module")
def everything(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("everything")
    return run(ground, folder, EVERYTHING), folder


def test_devices_triton_clients_and_readers_share_a_line_and_nothing_is_lost(everything: tuple[dict, Path]):
    summary, folder = everything
    assert report.good(summary), (summary, said(folder))
    assert summary["pictures"]["read"] == summary["pictures"]["planned"] > 30
    assert summary["batches"]["answered"] == summary["batches"]["planned"] > 0
    assert summary["sessions"]["decided"] + summary["sessions"]["handed back"] > 0
    assert set(summary["stages"]) == {
        *("disk", "kafka", "queue", "decode", "encode", "store", "end to end"),
        *("triton", "worklist", "reading"),
    }
    assert len(summary["banks"]) == 2
    assert summary["bank_taken_up_after_s"] > 0
    assert set(summary["memory_mib"]) == {"kafka", "redis", "triton", "screening", "web"}
    assert all(size["end"] > 1 for size in summary["memory_mib"].values()), summary["memory_mib"]


def test_time_counts_from_when_a_picture_was_meant_to_be_sent(everything: tuple[dict, Path]):
    """Two of three cameras are cut off for four seconds: what they took then is late by what was left of those."""
    summary, folder = everything
    assert summary["stages"]["end to end"]["longest"] > 2
    assert summary["caught_up_after_s"] > 0
    for row in pictures_of(folder):
        order = ("meant", "spooled", "produced", "fetched", "decoded", "encoded", "stored", "read")
        times = [float(row[name]) for name in order]
        # Kafka's time has milliseconds, and the others more.
        assert all(later >= earlier - 0.001 for earlier, later in pairwise(times)), row


def test_what_was_found_lies_in_files_that_agree(everything: tuple[dict, Path]):
    summary, folder = everything
    assert json.loads((folder / "summary.json").read_text()) == summary
    rows = pictures_of(folder)
    assert len({row["image"] for row in rows}) == len(rows) == summary["pictures"]["read"]
    with (folder / "stages.csv").open(newline="") as lines:
        assert {row["stage"]: int(row["count"]) for row in csv.DictReader(lines)} == {
            name: stage["count"] for name, stage in summary["stages"].items()
        }
    assert report.last_line(summary) in (folder / "report.html").read_text()
    assert "end to end" in (folder / "locust.html").read_text()
    assert "end to end" in (folder / "locust_stats.csv").read_text()
    assert report.last_line(summary) == said(folder).strip().splitlines()[-1]


def test_a_master_and_two_workers_share_the_schedule_and_add_up(ground: Ground, tmp_path: Path):
    summary = run(ground, tmp_path, PICTURES_ALONE.format(patience=90), workers=2)
    assert report.good(summary), (summary, said(tmp_path))
    assert summary["pictures"]["read"] == summary["pictures"]["planned"] > 15
    files = [file for file in tmp_path.glob("pictures*.csv") if len(file.read_text().splitlines()) > 1]
    assert len(files) == 2, "one of the workers had no camera"
    assert len({row["image"] for row in pictures_of(tmp_path)}) == summary["pictures"]["read"]


def job() -> dict:
    """The container of the chart's Job, as it is rendered."""
    [container] = [
        each["spec"]["template"]["spec"]["containers"][0]
        for each in yaml.safe_load_all((ROOT / "tests/chart/goldens/dev.yaml").read_text())
        if each and each["kind"] == "Job" and "loadtest" in each["metadata"]["name"]
    ]
    return container


def test_the_chart_s_job_counts_what_a_line_that_does_not_answer_lost_and_fails(ground: Ground, tmp_path: Path):
    container = job()
    assert scenario.load({each["name"]: each["value"] for each in container["env"]}["LOAD_SCENARIO"]).cameras
    file = tmp_path / "mine.toml"
    file.write_text(PICTURES_ALONE.format(patience=3))
    changed = {"--users=2": "--users=8", "--run-time=5m": "--run-time=4s"}
    assert set(changed) < set(container["args"])
    argv = [str(Path(sys.executable).with_name(container["command"][0]))]
    argv += [changed.get(argument, argument) for argument in container["args"]]
    told = {**inherited_environment(), **ground.environment(), "LOAD_SCENARIO": str(file)}
    ground.stack.stop("screening")
    try:
        ended = subprocess.run(argv, cwd=ROOT, env=told, capture_output=True, text=True, timeout=240, check=False)
    finally:
        ground.stack.start("screening")
    planned = len(arrivals.shots(scenario.load(str(file)).with_cameras(8).lasting(4)))
    assert planned > 30
    assert ended.stdout.strip().splitlines()[-1] == f"load: 0 pictures, lost {planned}, p95 – s, – pictures/s"
    assert ended.returncode == 1


def test_a_test_that_is_told_to_end_says_what_it_has_and_leaves_no_files(ground: Ground, tmp_path: Path):
    file, out, scratch = tmp_path / "mine.toml", tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    file.write_text(PICTURES_ALONE.format(patience=90).replace("seconds = 4", "seconds = 300"))
    argv = [sys.executable, "-m", "locust", "--headless", "--locustfile", str(ROOT / "loadtests/locustfile.py")]
    told = {**inherited_environment(), **ground.environment(), "TMPDIR": str(scratch)}
    told |= {"LOAD_SCENARIO": str(file), "LOAD_OUT": str(out)}
    with (tmp_path / "locust.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=ROOT, env=told, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while "cameras ready" not in said(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.terminate()
        assert process.wait(120) == 1, said(tmp_path)
    finally:
        process.kill()
    assert "the test was interrupted" in json.loads((out / "summary.json").read_text())["faults"]
    assert not list(scratch.glob("eyestream-load-*"))


def test_a_scenario_that_is_none_ends_before_anything_starts():
    ended = subprocess.run(
        [sys.executable, "-m", "eyestream_load", "rush-hour"],
        cwd=ROOT / "loadtests",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert "There is no scenario rush-hour" in ended.stderr
