"""Pictures' own files to clients that take them slowly, or not at all."""

from __future__ import annotations

import asyncio

import pytest

from eyestream.testing.messages import png
from eyestream.web.services import File


@pytest.fixture
async def shown(world, monkeypatch):
    """One picture, room for one client at a time, and none who waits."""
    monkeypatch.setattr("eyestream.web.sending._AT_ONCE", 1)
    monkeypatch.setattr("eyestream.web.sending._WAITING", 0)
    metas = await world.screen("exam-1")
    world.pictures.files[metas[0].image_id] = File(png(0), "image/png", "png")
    world.path = f"/v1/exams/exam-1/pictures/{metas[0].image_id}"
    world.gone = f"/v1/exams/exam-1/pictures/{metas[1].image_id}"
    return world


def stuck(world):
    """A client that takes the beginning of the file and no more; and the event of its having done so."""
    taken = asyncio.Event()

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        if message.get("body"):
            taken.set()
            await asyncio.Event().wait()

    authorization = (b"authorization", f"Bearer {world.keys['viewer']}".encode())
    request = {"type": "http", "method": "GET", "path": world.path, "query_string": b"", "headers": [authorization]}
    return world.app(request, receive, send), taken


async def test_no_more_files_lie_in_memory_than_there_is_room_for_and_whoever_hangs_up_leaves_it(shown, is_problem):
    sending, taken = stuck(shown)
    task = asyncio.create_task(sending)
    async with asyncio.timeout(10):
        await taken.wait()
    client = shown.client("viewer")
    is_problem(await client.get(shown.path), 503, "unavailable")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    answer = await client.get(shown.path)
    assert (answer.status_code, answer.content) == (200, png(0))


async def test_a_client_that_takes_nothing_more_has_its_file_for_so_long_alone(shown, monkeypatch):
    monkeypatch.setattr("eyestream.web.sending._LONGEST_S", 0.05)
    sending, _ = stuck(shown)
    async with asyncio.timeout(10):
        await sending
    assert (await shown.client("viewer").get(shown.path)).status_code == 200


async def test_a_file_that_is_gone_takes_no_room(shown, is_problem):
    client = shown.client("viewer")
    for _ in range(3):
        is_problem(await client.get(shown.gone), 410, "picture-gone")
    assert (await client.get(shown.path)).status_code == 200
