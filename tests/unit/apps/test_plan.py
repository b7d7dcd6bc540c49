"""`eyestream plan`: what a platform engineer reads before buying anything."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from eyestream.apps import plan as plan_module
from eyestream.apps.plan import plan
from eyestream.errors import Misconfigured

SMALL = ["--pictures-per-day", "2000", "--gpu", "cpu", "--encoder", "eyestream-demo"]


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(plan_module, "MOST_PICTURES", 400)
    app = typer.Typer()
    app.command()(plan)
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=True)


def test_it_says_what_is_assumed_what_is_needed_and_what_gives_way_first(run):
    done = run(*SMALL)
    assert done.exit_code == 0, done.output
    for words in ("busiest hour", "partitions", "Redis's memory", "p99.9", "The next bottleneck"):
        assert words in done.output
    assert "not measured" not in done.output


def test_an_engine_nobody_measured_is_called_so(run):
    done = run("--pictures-per-day", "2000", "--encoder", "flair", "--gpu", "l4")
    assert done.exit_code == 0, done.output
    assert "not measured" in done.output


def test_more_pictures_need_more_workers(run):
    def workers(per_day):
        done = run("--pictures-per-day", str(per_day), *SMALL[2:])
        return int(re.search(r"workers\s+│\s+(\d+) of", done.output)[1])

    assert workers(2_000) == 2
    assert workers(9_000_000) > 8


def test_an_hour_in_which_nobody_comes_is_called_so(run):
    done = run("--pictures-per-day", "1", *SMALL[2:])
    assert done.exit_code == 0, done.output
    assert "partitions" in done.output
    assert "nobody came" in done.output


def test_the_hour_is_drawn(run, tmp_path):
    done = run(*SMALL, "--plot", str(tmp_path / "hour.svg"))
    assert done.exit_code == 0, done.output
    assert "<svg" in (tmp_path / "hour.svg").read_text()


def test_a_file_nothing_can_be_drawn_into_is_named(run, tmp_path):
    done = run(*SMALL, "--plot", str(tmp_path / "hour.xyz"))
    assert isinstance(done.exception, Misconfigured)
    assert "hour.xyz" in str(done.exception)


def test_without_a_demand_there_is_no_plan(run):
    assert run().exit_code == 2
