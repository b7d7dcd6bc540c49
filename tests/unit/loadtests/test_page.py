"""The page about a load test: complete in itself, with every picture, and safe to open."""

from __future__ import annotations

import csv

import pytest

from eyestream_load import page, report
from eyestream_load.books import Books
from eyestream_load.conductor import Conductor
from eyestream_load.scenario import Scenario

PLAN = {"title": "A <b>morning</b>", "seconds": 10, "arrivals": "even", "cameras": {"count": 1, "rate": [[0, 4]]}}
TIMES = ("meant", "spooled", "produced", "fetched", "decoded", "encoded", "read")


def found(plan, books=None):
    conductor = Conductor(plan, mark="load-x", announce=lambda _: None, now=lambda: 1000.0)
    conductor.begins_at = 1000.0
    conductor.books = books or Books()
    return report.summarise(conductor)


def write_pictures(folder, name, moments):
    with (folder / f"pictures-{name}.csv").open("w", newline="") as lines:
        table = csv.DictWriter(lines, ["image", *TIMES])
        table.writeheader()
        for number, meant in enumerate(moments):
            times = {time: meant + step / 10 for step, time in enumerate(TIMES)}
            table.writerow({"image": f"{name}-{number}", **times})


@pytest.fixture
def written(tmp_path):
    """The page of a test whose pictures lie in the files of two workers."""

    def write(**changes):
        plan = Scenario.model_validate(PLAN | changes)
        books = Books()
        for _ in range(3):
            books.took("end to end", 0.5)
        write_pictures(tmp_path, "a", [1001.0, 1005.0])
        write_pictures(tmp_path, "b", [1003.0])
        page.write(found(plan, books), plan, tmp_path)
        return (tmp_path / "report.html").read_text()

    return write


def test_it_shows_the_last_line_the_stages_and_what_was_wrong(written):
    text = written()
    assert "load: 0 pictures, lost 40" in text
    assert "<td>end to end</td><td>meant → read</td><td>3</td>" in text
    assert "40 pictures were never taken" in text


def test_it_draws_every_picture_and_fetches_nothing(written):
    text = written()
    assert "<svg" in text
    assert text.count("<script") == 0
    assert "src=" not in text


def test_what_was_broken_is_marked_in_the_plots(written):
    text = written(outage={"begins_s": 2, "lasts_s": 3}, bank_swap={"at_s": 6})
    assert "way to Kafka cut" in text
    assert "new bank" in text
    assert "way to Kafka cut" not in written()


def test_a_title_is_text_and_not_a_part_of_the_page(written):
    assert "A &lt;b&gt;morning&lt;/b&gt;" in written()


def test_a_test_without_pictures_has_a_page_without_plots(tmp_path):
    plan = Scenario.model_validate(PLAN)
    page.write(found(plan), plan, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "lost 40" in text
    assert "<svg" not in text
