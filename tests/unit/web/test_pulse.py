"""How the line is doing, as whoever looks at a page is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eyestream.errors import Unavailable
from eyestream.records import Timings
from eyestream.sinks.base import Decided
from eyestream.sinks.feed import Cursor, Happening
from eyestream.web.pulse import Pulse

NOW = 1_000_000.0


class TimedFeed:
    """Decisions at given moments, as a store's stream has them."""

    def __init__(self):
        self.happenings: list[Happening] = []

    def add(self, exam: str, at: float, programme: str = "demo"):
        event = Decided(exam, programme, "refer", "soon", 1, 1, at)
        self.happenings.append(Happening(0, (int(at * 1000), 0), event))

    async def sources(self):
        return 1

    async def after(self, cursor: Cursor):
        return [one for one in self.happenings if not cursor.covers(one)]


class KnownScreenings:
    def __init__(self, template):
        self.template = template
        self.stored: dict[str, list[Timings]] = {}
        self.asked: list[str] = []

    async def screenings(self, exam: str):
        self.asked.append(exam)
        return [replace(self.template, timings=timings) for timings in self.stored[exam]]


@pytest.fixture
async def scene(world):
    await world.screen("exam-1")
    [template, *_] = await world.sink.screenings("exam-1")
    feed, results = TimedFeed(), KnownScreenings(template)

    async def waiting():
        return 7

    clock = [NOW]
    return feed, results, Pulse(feed, results, waiting, clock=lambda: clock[0]), clock


def timings(stored: float) -> Timings:
    """A picture that took 100 s to be sent, then 1, 2, 3 and 4 s."""
    return Timings(stored - 110, stored - 10, stored - 9, stored - 7, stored - 4, stored)


async def test_each_stage_is_told_of_pictures_stored_lately_and_of_no_others(scene):
    feed, results, pulse, _ = scene
    feed.add("exam-1", NOW - 200)
    feed.add("exam-2", NOW - 100, programme="other")
    results.stored["exam-1"] = [timings(NOW - 200), timings(NOW - 86_400)]
    beat = await pulse.beat("demo")
    assert results.asked == ["exam-1"]
    assert (beat.window_s, beat.pictures, beat.waiting) == (900, 1, 7)
    told = {one.name: one.median for one in beat.stages}
    assert told == {"sending": 100, "waiting": 1, "decoding": 2, "encoding": 3, "storing": 4, "total": 10}


async def test_a_busy_line_is_told_by_its_last_seconds(scene):
    feed, results, pulse, _ = scene
    for number in range(300):
        feed.add(f"exam-{number}", NOW - 300 + number)
        results.stored[f"exam-{number}"] = [timings(NOW - 300 + number)]
    beat = await pulse.beat("demo")
    assert beat.window_s == 60
    assert beat.pictures == 40
    assert set(results.asked) == {f"exam-{number}" for number in range(260, 300)}


async def test_many_who_look_at_once_make_one_look(scene):
    feed, results, pulse, clock = scene
    feed.add("exam-1", NOW - 1)
    results.stored["exam-1"] = [timings(NOW - 1)]
    first = await pulse.beat("demo")
    clock[0] += 4
    assert await pulse.beat("demo") is first
    clock[0] += 2
    assert await pulse.beat("demo") is not first


async def test_a_clock_that_is_put_back_does_not_stop_the_looking(scene):
    *_, pulse, clock = scene
    first = await pulse.beat("demo")
    clock[0] -= 3600
    assert await pulse.beat("demo") is not first


async def test_a_line_at_rest_has_no_stages(scene):
    _, _, pulse, _ = scene
    beat = await pulse.beat("demo")
    assert (beat.pictures, beat.stages, beat.window_s) == (0, (), 900)


async def test_without_kafka_what_waits_is_not_known_and_the_rest_is(world):
    async def away():
        raise Unavailable("kafka", "told to be away")

    world.change(waiting=away)
    answer = await world.client("viewer").get("/v1/programmes/demo/line")
    assert answer.status_code == 200
    assert answer.json()["waiting"] is None


async def test_the_route_tells_what_still_waits(world):
    world.line.put(1)
    world.line.put(2)
    answer = await world.client("viewer").get("/v1/programmes/demo/line")
    assert (answer.json()["waiting"], answer.json()["stages"]) == (2, [])


async def test_no_more_is_remembered_than_was_asked_of_late_whatever_names_are_asked_for(scene):
    *_, pulse, clock = scene
    for number in range(100):
        await pulse.beat(f"anything-{number}")
        clock[0] += 1.0
    assert pulse.known <= 5
