"""Who plays what, when it begins, and when it is over; time is stepped."""

from __future__ import annotations

import pytest

from eyestream_load.conductor import LEAD_S, SETTLE_S, START_PATIENCE_S, Conductor
from eyestream_load.scenario import Scenario

PLAN = Scenario.model_validate(
    {
        "title": "t",
        "seconds": 10,
        "patience_s": 60,
        "cameras": {"count": 2, "rate": [[0, 4]]},
        "triton": {"count": 1, "rate": [[0, 1]]},
    }
)


class Clock:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def conductor(clock, told):
    return Conductor(PLAN, mark="load-x", announce=told.append, now=clock)


def begin(conductor):
    conductor.joined("Camera", "a")
    conductor.joined("TritonClient", "b")
    conductor.joined("Camera", "c")


def everything(conductor):
    conductor.books.counts["readable"] = conductor.planned["pictures"]
    conductor.books.counts["batches"] = conductor.planned["batches"]


def test_nobody_begins_before_all_are_ready(conductor, told):
    conductor.joined("Camera", "a")
    conductor.joined("Camera", "c")
    assert told == []
    conductor.joined("TritonClient", "b")
    assert len(told) == 1


def test_each_user_gets_a_lane_of_its_own_and_the_same_beginning(conductor, told):
    begin(conductor)
    assert told[0]["lanes"] == {"a": 0, "c": 1, "b": 0}
    assert told[0]["begins_at"] >= 1000.0 + LEAD_S
    assert Scenario.model_validate(told[0]["scenario"]) == PLAN


def test_it_is_not_over_before_its_time_though_everything_came(conductor, clock):
    begin(conductor)
    everything(conductor)
    clock.at = conductor.begins_at + 9.9
    assert not conductor.over()


def test_it_is_over_once_everything_came_and_has_settled(conductor, clock):
    begin(conductor)
    clock.at = conductor.begins_at + 10
    everything(conductor)
    assert not conductor.over()
    clock.at += SETTLE_S + 0.1
    assert conductor.over()
    assert not conductor.interrupted()


def test_what_is_missing_is_waited_for_as_long_as_anything_comes(conductor, clock):
    begin(conductor)
    clock.at = conductor.begins_at + 10
    for _ in range(3):
        conductor.books.counts["readable"] += 1
        assert not conductor.over()
        clock.at += PLAN.patience_s - 1
    assert not conductor.over()
    clock.at += PLAN.patience_s
    assert conductor.over()


def test_a_device_that_does_not_know_yet_that_a_picture_arrived_is_waited_for(conductor, clock):
    begin(conductor)
    clock.at = conductor.begins_at + 10
    everything(conductor)
    conductor.books.counts.update(spooled=5, sent=4)
    assert not conductor.over()
    clock.at += SETTLE_S + 0.1
    assert not conductor.over()
    conductor.books.counts["sent"] += 1
    assert conductor.over()


def test_a_picture_that_was_refused_has_an_end(conductor, clock):
    begin(conductor)
    clock.at = conductor.begins_at + 10
    everything(conductor)
    conductor.books.counts["readable"] -= 1
    conductor.books.counts["refused"] += 1
    assert not conductor.over()
    clock.at += SETTLE_S + 0.1
    assert conductor.over()


def test_a_test_whose_users_are_never_ready_ends_and_says_who_is_missing(conductor, clock):
    conductor.joined("Camera", "a")
    clock.at += START_PATIENCE_S + 1
    assert conductor.over()
    assert "'TritonClient': 1" in conductor.books.faults[0]


def test_a_child_program_that_failed_ends_it_at_once(conductor):
    begin(conductor)
    assert not conductor.over()
    assert conductor.interrupted()
    conductor.books.counts["failed"] += 1
    assert conductor.over()
    assert not conductor.interrupted()
