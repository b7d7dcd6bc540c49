from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from eyestream.errors import Misconfigured, Unavailable
from eyestream.sinks.base import Decided
from eyestream.sinks.readings import Read
from eyestream.web.hub import Hub


def decided(number, programme="demo"):
    return Decided(f"exam-{number}", programme, "refer", "soon", 5, 1, float(number))


class Counters:
    def __init__(self):
        self.counts_now = {"stored": 1}
        self.asked = 0

    async def counts(self, programme, day):
        self.asked += 1
        return self.counts_now


@pytest.fixture
def counters():
    return Counters()


@pytest.fixture
async def hub(world, counters):
    hub = Hub(world.feed, counters, clock=world.clock, poll_s=0.001, counts_s=0.001, heartbeat_s=0.02)
    yield hub
    await hub.stop()


async def take(items, count, *, beats=False):
    """So many items, without heartbeats and counters unless asked."""
    found = []
    async with asyncio.timeout(10):
        while len(found) < count:
            place, news = await anext(items)
            if beats or isinstance(news, Decided | Read):
                found.append((place, news))
    return found


async def test_every_client_gets_every_event_once_and_in_order(hub, world):
    start, _ = await hub.place(None)
    async with aclosing(hub.follow(start, programme=None)) as one, aclosing(hub.follow(start, programme=None)) as two:
        both = [asyncio.create_task(take(items, 20)) for items in (one, two)]
        for number in range(20):
            world.feed.add(decided(number))
            await asyncio.sleep(0)
        for found in await asyncio.gather(*both):
            assert [event.exam_id for _, event in found] == [f"exam-{number}" for number in range(20)]


async def test_a_client_resumes_after_the_event_it_saw_last(hub, world):
    world.feed.add(*(decided(number) for number in range(5)))
    beginning, _ = await hub.place("0")
    async with aclosing(hub.follow(beginning, programme=None)) as items:
        place, event = (await take(items, 3))[-1]
    assert event == decided(2)
    resumed, forgotten = await hub.place(place)
    assert not forgotten
    async with aclosing(hub.follow(resumed, programme=None)) as items:
        assert [event for _, event in await take(items, 2)] == [decided(3), decided(4)]
        world.feed.add(decided(5))
        assert [event for _, event in await take(items, 1)] == [decided(5)]


async def test_a_client_that_was_away_too_long_is_told(hub, world):
    world.feed.add(*(decided(number) for number in range(5)))
    world.feed.begins = 4
    assert (await hub.place("3"))[1]
    assert not (await hub.place("4"))[1]


async def test_clients_of_a_feed_that_failed_are_cut_off_and_hear_of_it_again(hub, world, monkeypatch):
    start, _ = await hub.place(None)

    async def refused(_cursor):
        raise Misconfigured("redis refuses this user")

    async with aclosing(hub.follow(start, programme=None)) as items:
        assert await take(items, 1, beats=True)
        with monkeypatch.context() as patch:
            patch.setattr(world.feed, "after", refused)
            async with asyncio.timeout(10):
                async for _, news in items:
                    assert news is None
    world.feed.add(decided(1))
    async with aclosing(hub.follow(start, programme=None)) as items:
        assert [event for _, event in await take(items, 1)] == [decided(1)]
        world.feed.add(decided(2))
        assert [event for _, event in await take(items, 1)] == [decided(2)]


@pytest.mark.parametrize("text", ["", "1.2", "x y", "-"])
async def test_what_is_no_place_is_refused(hub, text):
    with pytest.raises(ValueError, match="place"):
        await hub.place(text)


async def test_a_client_of_one_programme_hears_of_no_other_and_yet_moves_on(hub, world):
    start, _ = await hub.place(None)
    world.feed.add(decided(0, "other"), Read("exam-1", "demo", "claimed", "ada", 1.0), decided(2, "other"))
    async with aclosing(hub.follow(start, programme="demo")) as items:
        [(_, event)] = await take(items, 1)
        assert event.deed == "claimed"
        async with asyncio.timeout(10):
            while (await anext(items)) != (str(await world.feed.end()), None):
                pass


async def test_counters_come_when_they_change(hub, counters):
    start, _ = await hub.place(None)
    async with aclosing(hub.follow(start, programme="demo")) as items:
        told = []
        async with asyncio.timeout(10):
            while len(told) < 2:
                place, news = await anext(items)
                if isinstance(news, dict):
                    assert place == ""
                    told.append(news)
                    counters.counts_now = {"stored": 2}
    assert told == [{"stored": 1}, {"stored": 2}]


async def test_a_quiet_stream_shows_that_it_lives(hub):
    start, _ = await hub.place(None)
    async with aclosing(hub.follow(start, programme=None)) as items:
        assert await take(items, 2, beats=True) == [(str(start), None)] * 2


async def test_nobody_following_nobody_asks(hub, world, counters):
    start, _ = await hub.place(None)
    async with aclosing(hub.follow(start, programme="demo")) as items:
        await take(items, 1, beats=True)
        assert hub.clients == 1
    assert hub.clients == 0
    looks = world.feed.looks, counters.asked
    await asyncio.sleep(0.02)
    assert (world.feed.looks, counters.asked) == looks


async def test_a_client_that_is_too_slow_is_cut_off_and_resumes_without_loss(hub, world):
    start, _ = await hub.place(None)
    seen = []
    async with aclosing(hub.follow(start, programme=None)) as items:
        [(place, _)] = await take(items, 1, beats=True)
        async with aclosing(hub.follow(start, programme=None)) as quick:
            for number in range(300):
                world.feed.add(decided(number))
                await take(quick, 1)
        async for place_, event in items:
            if event is not None:
                place = place_
                seen.append(event.exam_id)
    assert 0 < len(seen) < 300
    resumed, _ = await hub.place(place)
    async with aclosing(hub.follow(resumed, programme=None)) as items:
        seen += [event.exam_id for _, event in await take(items, 300 - len(seen))]
    assert seen == [f"exam-{number}" for number in range(300)]


async def test_a_store_that_is_away_for_a_while_costs_no_event(world, counters, monkeypatch):
    monkeypatch.setattr("eyestream.web.hub._RETRY_S", 0.001)
    hub = Hub(world.feed, counters, clock=world.clock, poll_s=0.001, counts_s=0.001, heartbeat_s=0.02)
    start, _ = await hub.place(None)
    real, failures = world.feed.after, iter(range(5))

    async def after(cursor):
        if asyncio.current_task() is not me and next(failures, None) is not None:
            raise Unavailable("redis", "told to be away")
        return await real(cursor)

    me = asyncio.current_task()
    world.feed.after = after
    async with aclosing(hub.follow(start, programme=None)) as items:
        await anext(items)
        world.feed.add(decided(0))
        found = []
        async with asyncio.timeout(10):
            while not found:
                _, news = await anext(items)
                found += [news] if news else []
    assert found == [decided(0)]


@pytest.mark.parametrize("late", [False, True], ids=["live", "catching up"])
async def test_a_client_of_a_quiet_programme_hears_that_it_lives_however_busy_the_others_are(hub, world, late):
    """Or whatever is in between ends the connection, and it resumes further and further behind."""
    start, _ = await hub.place(None)
    number = 0

    async def busy():
        nonlocal number
        while True:
            number += 1
            world.feed.add(decided(number, "other"))
            await asyncio.sleep(0 if late else 0.005)

    working = asyncio.create_task(busy())
    try:
        if late:
            real = world.feed.after

            async def after(cursor):  # always more to come
                await asyncio.sleep(0.001)
                return (await real(cursor))[:1]

            world.feed.after = after
        async with aclosing(hub.follow(start, programme="demo")) as items, asyncio.timeout(10):
            beats = 0
            async for place, news in items:
                beats += news is None and place != str(start)
                if beats == 2:
                    break
    finally:
        working.cancel()
