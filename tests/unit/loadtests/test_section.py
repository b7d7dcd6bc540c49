"""What a process writes into its books when its child programs tell of pictures, and when they fail."""

from __future__ import annotations

import csv

import pytest

from eyestream_load.options import Options
from eyestream_load.scenario import Scenario
from eyestream_load.section import Section

PLAN = Scenario.model_validate({"title": "t", "name": "mine", "seconds": 60, "cameras": {"count": 1, "rate": [[0, 4]]}})
TIMINGS = {"captured": 99.0, "produced": 101.0, "fetched": 101.5, "decoded": 101.75, "encoded": 102.0, "stored": 102.1}


class Watcher:
    """Hears what it is asked, in place of the child program."""

    def __init__(self):
        self.asked = []

    def ask(self, order):
        self.asked.append(order)

    def close(self):
        pass


@pytest.fixture
def took():
    return []


@pytest.fixture
def section(tmp_path, took):
    options, children = Options(out=tmp_path / "out"), {"watcher": Watcher()}
    made = Section(PLAN, options, mark="load-x", took=lambda *stage: took.append(stage), children=children)
    made.begin({"scenario": PLAN.model_dump(mode="json"), "begins_at": 100.0, "mark": "load-x", "lanes": {"a": 0}})
    yield made
    made.close()


def spooled(image="p1", meant=100.0):
    facts = {"image": image, "exam": "e1", "sha256": "0" * 64, "photograph": 2}
    return {"event": "spooled", "meant": meant, "at": meant + 0.5, **facts}


def readable(image="p1", **changes):
    told = {"event": "readable", "image": image, "at": 102.25, "timings": TIMINGS, "bank": "bb", "contradicted": None}
    return told | changes


def test_a_picture_s_stages_are_timed_from_the_moment_meant_until_it_was_read(section):
    section.heard("cameras", spooled())
    section.heard("cameras", {"event": "sent", "image": "p1", "at": 101.25})
    section.heard("watcher", readable())
    times = {name: book.sum_s for name, book in section.books.stages.items()}
    assert times == {
        "disk": 0.5,
        "kafka": 0.75,
        "queue": 0.5,
        "decode": 0.25,
        "encode": 0.25,
        "store": 0.25,
        "end to end": 2.25,
    }
    assert section.books.counts == {"spooled": 1, "sent": 1, "readable": 1}
    assert section.books.banks == {"bb": 1}


def test_the_watcher_is_told_of_a_picture_as_soon_as_the_device_has_it(section):
    section.heard("cameras", spooled())
    [asked] = section.children["watcher"].asked
    assert (asked["image"], asked["exam"], asked["photograph"]) == ("p1", "e1", 2)


def test_a_result_may_come_before_the_acknowledgement(section, tmp_path):
    section.heard("cameras", spooled())
    section.heard("watcher", readable())
    section.heard("cameras", {"event": "sent", "image": "p1", "at": 103.0})
    section.close()
    [file] = (tmp_path / "out").glob("pictures-*.csv")
    with file.open(newline="") as lines:
        [row] = csv.DictReader(lines)
    assert (row["meant"], row["acknowledged"], row["stored"], row["read"]) == ("100.0", "103.0", "102.1", "102.25")


def test_a_contradiction_is_counted_and_told_and_is_a_failure_of_locust_s_too(section, took):
    section.heard("cameras", spooled())
    section.heard("watcher", readable(contradicted="has the result of another file"))
    assert section.books.counts["contradicted"] == 1
    assert section.books.faults == ["p1 of e1 has the result of another file"]
    assert ("end to end", 2.25, "has the result of another file") in took


@pytest.mark.parametrize(
    ("child", "event", "count"),
    [
        ("watcher", {"event": "refused", "image": "p1", "why": "truncated"}, "refused"),
        ("watcher", {"event": "conflict", "image": "p1"}, "contradicted"),
        ("cameras", {"event": "not-taken", "exam": "e1", "why": "no room"}, "not-taken"),
        ("cameras", {"event": "failed", "why": "it fell"}, "failed"),
        ("callers", {"event": "failed", "why": "it fell"}, "failed"),
        ("swap", {"event": "failed", "why": "it fell"}, "failed"),
    ],
)
def test_everything_else_that_goes_wrong_is_counted_and_told(section, child, event, count):
    section.heard("cameras", spooled())
    section.heard(child, event)
    assert section.books.counts[count] == 1
    assert len(section.books.faults) == 1


def test_a_batch_is_timed_and_held_against_each_picture_alone(section):
    section.heard("callers", {"event": "encoded", "meant": 100.0, "at": 100.5, "contradicted": None})
    section.heard("callers", {"event": "encoded", "meant": 100.0, "at": 100.5, "contradicted": "it moved"})
    section.heard("callers", {"event": "encoded", "meant": 100.0, "at": 100.5, "failed": "triton is away"})
    assert section.books.counts == {"batches": 3, "batches failed": 1, "contradicted": 1, "faults": 1}
    assert section.books.stages["triton"].count == 1


def test_what_was_taken_out_of_the_books_is_not_told_twice(section):
    section.heard("cameras", spooled())
    assert section.take().counts["spooled"] == 1
    assert section.take().counts["spooled"] == 0


def test_a_process_with_another_scenario_ends_the_test(section):
    other = PLAN.model_dump(mode="json") | {"name": "another", "seed": 9}
    section.begin({"scenario": other, "begins_at": 100.0, "mark": "load-x", "lanes": {}})
    assert section.books.counts["failed"] == 1
    assert "LOAD_SCENARIO" in section.books.faults[0]


def test_of_very_many_faults_the_first_are_told_and_all_are_counted(section):
    for number in range(1000):
        section.fault(f"fault {number}")
    assert section.books.counts["faults"] == 1000
    assert len(section.books.faults) < 100
