"""Event streams whose clients take nothing more, are too many, or may no longer listen."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import itertools

from eyestream.sinks.base import Decided
from eyestream.web.guard import Guard
from eyestream.web.keys import KeyFile, make_key


def asked(world, role):
    """The request for events as a server hands it on."""
    headers = [(b"authorization", f"Bearer {world.keys[role]}".encode()), (b"last-event-id", b"0")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }


async def stays():
    await asyncio.Event().wait()


async def test_a_client_that_takes_nothing_more_holds_no_place_beyond_its_time(world, monkeypatch):
    """As a laptop that was shut, or whoever would have all the places for himself."""
    monkeypatch.setattr("eyestream.web.events._GRACE_S", 0.05)
    world.change(house=dataclasses.replace(world.services.house, stream_s=0.05))
    world.feed.add(Decided("exam-1", "demo", "refer", "soon", 1, 1, 0.0))
    stuck = asyncio.Event()

    async def send(message):
        if b"event: decided" in message.get("body", b""):
            stuck.set()
            await stays()

    async with asyncio.timeout(10):
        stream = asyncio.create_task(world.app(asked(world, "viewer"), stays, send))
        await stuck.wait()
        assert world.app.state.hub.clients == 1
        await stream
    assert world.app.state.hub.clients == 0
    assert world.services.metrics.registry.get_sample_value("eyestream_web_event_streams") == 0


async def test_no_more_follow_than_may_though_they_all_come_at_once(world):
    world.change(house=dataclasses.replace(world.services.house, max_streams=2))
    world.feed.add(Decided("exam-1", "demo", "refer", "soon", 1, 1, 0.0))
    heard = asyncio.Semaphore(0)

    async def send(message):
        if b"event: decided" in message.get("body", b""):
            heard.release()

    async with asyncio.timeout(10):
        streams = [asyncio.create_task(world.app(asked(world, "viewer"), stays, send)) for _ in range(6)]
        for turned_away in itertools.islice(asyncio.as_completed(streams), 4):
            await turned_away
        for _ in range(2):
            await heard.acquire()
    assert world.app.state.hub.clients == 2
    assert heard.locked()
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    assert world.app.state.hub.clients == 0


async def test_nothing_is_told_once_the_proof_has_expired(world):
    """Though what comes then comes before the stream next looks at the time."""
    expires = dt.datetime.fromtimestamp(world.clock() + 60, dt.UTC)
    key, text = make_key("guest", ["read"], expires=expires)
    world.keys["guest"] = key
    world.key_file.write_text(text)
    guard = Guard(keys=KeyFile(world.key_file, clock=world.clock), issuer=None, requests=world.buckets)
    world.change(guard=guard, house=dataclasses.replace(world.services.house, heartbeat_s=60.0))
    told = []
    begun = asyncio.Event()

    async def send(message):
        told.append(message.get("body", b""))
        if b"exam-1" in told[-1]:
            begun.set()

    world.feed.add(Decided("exam-1", "demo", "refer", "soon", 1, 1, 0.0))
    async with asyncio.timeout(10):
        stream = asyncio.create_task(world.app(asked(world, "guest"), stays, send))
        await begun.wait()
        world.clock.step(61)
        world.feed.add(Decided("exam-2", "demo", "refer", "soon", 1, 1, 0.0))
        await stream
    assert not [body for body in told if b"exam-2" in body]
