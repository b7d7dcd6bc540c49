"""The feed of what happens to exams, on a real server."""

from __future__ import annotations

import pytest
from redis import Redis

from eyestream.errors import Misconfigured
from eyestream.sinks.base import Decided
from eyestream.sinks.feed import Cursor
from eyestream.sinks.readings import Read
from eyestream.sinks.redis import RedisSink
from eyestream.sinks.redis_feed import RedisFeed
from eyestream.sinks.redis_readings import RedisReadings
from eyestream.testing import redis_server
from eyestream.testing.contracts_readings import ADA
from eyestream.testing.screenings import Judge, a_screening

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with redis_server.running(redis_server.binaries()["valkey"], tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def client(url):
    with Redis.from_url(url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
async def sink(url, client):
    sink = RedisSink(url, Judge(), shards=4)
    await sink.check()
    yield sink
    await sink.close()


@pytest.fixture
async def feed(url, sink):
    feed = RedisFeed(url)
    yield feed
    await feed.close()


@pytest.fixture
async def readings(url, sink):
    readings = RedisReadings(url)
    yield readings
    await readings.close()


async def screen(sink, *numbers):
    await sink.store([a_screening(f"img-{number}", f"exam-{number}") for number in numbers])


async def everything(feed, cursor):
    found = []
    while batch := await feed.after(cursor):
        for happening in batch:
            found.append(happening)
            cursor = cursor.past(happening)
    return found


async def test_decisions_and_deeds_come_in_one_feed(feed, sink, readings):
    began = await feed.end()
    await screen(sink, 1)
    await readings.claim("exam-1", ADA, for_s=900)
    await readings.release("exam-1", ADA)
    events = [happening.event for happening in await everything(feed, began)]
    assert [type(event) for event in events] == [Decided, Read, Read]
    assert [event.deed for event in events[1:]] == ["claimed", "released"]
    assert await everything(feed, await feed.end()) == []


async def test_resuming_after_any_event_misses_and_repeats_nothing(feed, sink):
    began = await feed.end()
    await screen(sink, *range(250))
    told = await everything(feed, began)
    assert {happening.event.exam_id for happening in told} == {f"exam-{number}" for number in range(250)}
    cursor = began
    for place, happening in enumerate(told):
        cursor = cursor.past(happening)
        if place % 50 == 0:
            resumed = Cursor.parse(str(cursor), sources=await feed.sources())
            rest = await everything(feed, resumed)
            assert sorted(rest, key=str) == sorted(told[place + 1 :], key=str)
            assert all(one for one in rest if not resumed.covers(one))
            assert all(resumed.covers(one) for one in told[: place + 1])


async def test_whoever_was_away_for_too_long_is_told_that_events_are_gone(feed, sink, client):
    await screen(sink, *range(40))
    seen = await feed.end()
    assert not await feed.forgotten(seen)
    await screen(sink, *range(40, 80))
    assert not await feed.forgotten(seen)
    for name in client.keys("es:*:results"):
        client.xtrim(name, maxlen=1, approximate=False)
    assert await feed.forgotten(seen)
    assert not await feed.forgotten(await feed.end())


async def test_a_server_without_results_is_said_to_be_one(url, client):
    client.flushall()
    feed = RedisFeed(url)
    with pytest.raises(Misconfigured, match="no results"):
        await feed.end()
    await feed.close()
