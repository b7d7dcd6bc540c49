"""What a load test says at its end: the line, the exit code, the files."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from eyestream_load import report
from eyestream_load.conductor import Conductor
from eyestream_load.scenario import Scenario
from eyestream_load.section import STAGES

PLAN = Scenario.model_validate(
    {"title": "t", "name": "mine", "seconds": 10, "arrivals": "even", "cameras": {"count": 1, "rate": [[0, 4]]}}
)


@pytest.fixture
def conductor():
    made = Conductor(PLAN, mark="load-x", announce=lambda _: None, now=lambda: 1000.0)
    books = made.books
    for number in range(40):
        books.counts.update({"spooled": 1, "sent": 1, "readable": 1})
        books.happened("meant", 1000.0 + number / 4)
        books.happened("read", 1000.25 + number / 4)
        books.took("end to end", 0.25)
    return made


def shown(summary):
    console = Console(width=140, record=True, file=io.StringIO())
    report.show(summary, console)
    return console.export_text().splitlines()


def test_a_test_in_which_everything_came_is_good_and_says_so_in_its_last_line(conductor):
    summary = report.summarise(conductor)
    assert report.good(summary)
    assert shown(summary)[-1] == "load: 40 pictures, lost 0, p95 0.250 s, 4.0 pictures/s"


def test_a_picture_that_was_never_read_is_lost(conductor):
    conductor.books.counts["readable"] -= 1
    summary = report.summarise(conductor)
    assert summary["pictures"]["lost"] == 1
    assert not report.good(summary)


def test_a_test_in_which_nothing_came_is_not_good(conductor):
    conductor.planned["pictures"] = 0
    conductor.books.counts.clear()
    summary = report.summarise(conductor)
    assert summary["faults"] == ["no pictures were planned: raise the rate, or --seconds"]
    assert not report.good(summary)


@pytest.mark.parametrize(
    ("count", "by"),
    [("contradicted", 1), ("spooled", -1), ("sent", -1), ("batches failed", 1), ("sessions failed", 1)],
)
def test_whatever_else_is_wrong_makes_it_bad(conductor, count, by):
    conductor.books.counts[count] += by
    assert not report.good(report.summarise(conductor))


def test_an_interrupted_test_is_bad(conductor):
    assert not report.good(report.summarise(conductor, interrupted=True))


def test_a_bank_that_was_put_into_service_must_be_seen_in_results(conductor):
    told = PLAN.model_dump() | {"bank_swap": {"at_s": 5}}
    conductor.scenario = Scenario.model_validate(told)
    conductor.books.happened("activated bb", 1005.0)
    assert not report.good(report.summarise(conductor))
    conductor.books.happened("read with bb", 1006.5)
    summary = report.summarise(conductor)
    assert report.good(summary)
    assert summary["bank_taken_up_after_s"] == 1.5


def test_a_load_test_that_was_itself_slow_says_so(conductor):
    conductor.books.took("disk", 0.01)
    assert not any("load test itself" in text for text in report.remarks(report.summarise(conductor)))
    for _ in range(30):
        conductor.books.took("disk", 0.2)
    assert any("load test itself" in text for text in report.remarks(report.summarise(conductor)))


def test_after_an_outage_it_says_when_the_last_of_its_pictures_was_read(conductor):
    told = PLAN.model_dump() | {"outage": {"begins_s": 1, "lasts_s": 4}}
    conductor.scenario, conductor.begins_at = Scenario.model_validate(told), 1000.0
    conductor.books.happened("backlog read", 1007.5)
    assert report.summarise(conductor)["caught_up_after_s"] == 2.5


def test_a_test_in_which_nothing_came_still_has_a_last_line(conductor):
    nothing = Conductor(PLAN, mark="load-x", announce=lambda _: None, now=lambda: 1000.0)
    summary = report.summarise(nothing)
    assert shown(summary)[-1] == "load: 0 pictures, lost 40, p95 – s, – pictures/s"


def test_the_files_hold_the_same(conductor, tmp_path):
    summary = report.summarise(conductor)
    report.write(summary, tmp_path / "out")
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    [header, row] = (tmp_path / "out/stages.csv").read_text().splitlines()
    assert header.startswith("stage,")
    assert row.startswith(f"end to end,{STAGES['end to end']},40,")
