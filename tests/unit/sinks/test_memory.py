from __future__ import annotations

import asyncio

import pytest

from eyestream.errors import Unavailable
from eyestream.sinks.memory import MemorySink
from eyestream.testing.screenings import Judge, a_note, a_screening


@pytest.fixture
def sink():
    return MemorySink(Judge())


async def test_told_to_be_away_it_changes_nothing(sink):
    sink.unavailable(2)
    with pytest.raises(Unavailable):
        await sink.check()
    with pytest.raises(Unavailable):
        await sink.store([a_screening("a")])
    with pytest.raises(Unavailable):
        await sink.note_unreadable([a_note("b")])
    assert await sink.exam("exam-1") is None
    await sink.check()
    assert await sink.store([a_screening("a")]) == ["stored"]


async def test_told_to_lose_its_answer_it_has_stored_and_a_repeat_is_a_duplicate(sink):
    sink.fail_after_store()
    with pytest.raises(Unavailable):
        await sink.store([a_screening("a")])
    assert await sink.store([a_screening("a")]) == ["duplicate"]


async def test_its_tail_wakes_when_something_is_decided(sink):
    await sink.store([a_screening("a", "before")])
    tail = sink.tail()
    waiting = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    assert not waiting.done()
    await sink.store([a_screening("a", "after")])
    assert (await waiting).exam_id == "after"
