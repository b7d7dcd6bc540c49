"""What the watcher says of results: read once, at the time of reading, and told apart from another picture's."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib

import numpy as np
import pytest

from eyestream.banks.build import build
from eyestream.programmes import Programme
from eyestream.records import Identity, Position, Screening, Timings, Unreadable
from eyestream.scoring import score
from eyestream.sinks.base import Decided, Exam
from eyestream.sinks.feed import Cursor, Happening
from eyestream.testing.messages import meta_for
from eyestream.testing.texts import FakeTextEncoder
from eyestream_load.watcher import Alone, Expected, Watcher

DIM = 32
FILES = (b"first", b"second")


@pytest.fixture
def head(tmp_path):
    tower = FakeTextEncoder(DIM)
    made = build(Programme.builtin("demo"), tower, encoder_digest=tower.digest, preprocessing_digest=tower.digest)
    made.save(tmp_path / "heads")
    return made


@pytest.fixture
def vectors():
    found = np.random.default_rng(3).standard_normal((len(FILES), DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def alone(tmp_path, head, vectors):
    return Alone(tmp_path, vectors)


@pytest.fixture
def results(head, vectors):
    """One result of each file, as the line stores it."""
    made = []
    for number, judged in enumerate(score(head, vectors)):
        meta = meta_for(FILES[number], exam_id=f"exam-{number}")
        meta = meta.model_copy(update={"site_id": "load-000"})
        made.append(
            Screening(
                meta=meta,
                identity=Identity(encoder=head.digest, bank=head.digest),
                preprocessing=head.digest,
                programme=head.digest,
                findings=judged.findings,
                ungradable=judged.ungradable,
                quality=judged.quality,
                position=Position("t", 0, number),
                timings=Timings(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
                traceparent="",
            )
        )
    return made


def expected(number, *, shows=None):
    sha256 = hashlib.sha256(FILES[number]).hexdigest()
    return Expected(f"exam-{number}", sha256, number if shows is None else shows)


class Kept:
    """A store and its feed, of which a test says what lies in it."""

    def __init__(self):
        self.results, self.exams, self.judged_twice, self.happened = {}, {}, [], []

    def add(self, result):
        exam = result.meta.exam_id
        self.results.setdefault(exam, []).append(result)
        event = Decided(exam, "demo", "clear", "none", 0, 1, 0.0)
        self.happened.append(Happening(0, (1, len(self.happened) + 1), event))

    async def screenings(self, exam):
        return self.results.get(exam, [])

    async def exam(self, exam):
        return self.exams.get(exam)

    async def conflicts(self, programme, *, limit):
        return self.judged_twice

    async def end(self):
        return Cursor(((0, 0),))

    async def after(self, cursor):
        return [happening for happening in self.happened if not cursor.covers(happening)]


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def heard():
    return []


@pytest.fixture
async def follower(kept, alone, heard):
    made = Watcher(
        kept,
        kept,
        alone,
        programme="demo",
        tell=lambda event, **facts: heard.append({"event": event, **facts}),
        poll_s=0.002,
        look_again_s=0.02,
    )
    following = asyncio.create_task(made.follow())
    yield made
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


async def told(heard, count):
    """The first `count` events after `ready`, and none beyond."""
    for _ in range(2000):
        await asyncio.sleep(0.005)
        if len(heard) > count:
            break
    await asyncio.sleep(0.1)
    assert heard[0] == {"event": "ready"}
    assert len(heard) == count + 1, heard
    return heard[1:]


async def test_a_result_is_told_once_with_its_times_and_its_bank(follower, kept, results, head, heard):
    follower.expect(results[0].meta.image_id, expected(0))
    kept.add(results[0])
    [event] = await told(heard, 1)
    assert event["event"] == "readable"
    assert event["image"] == results[0].meta.image_id
    assert event["bank"] == head.digest
    assert event["timings"]["encoded"] == 5.0
    assert event["contradicted"] is None


async def test_a_result_that_came_before_it_was_expected_is_not_missed(follower, kept, results, heard):
    kept.add(results[0])
    await asyncio.sleep(0.05)
    follower.expect(results[0].meta.image_id, expected(0))
    [event] = await told(heard, 1)
    assert event["image"] == results[0].meta.image_id


async def test_a_result_that_no_feed_tells_of_is_found_all_the_same(follower, kept, results, heard):
    follower.expect(results[0].meta.image_id, expected(0))
    kept.results["exam-0"] = [results[0]]
    [event] = await told(heard, 1)
    assert event["event"] == "readable"


async def test_somebody_else_s_results_are_nobody_s_business(follower, kept, results, heard):
    kept.add(results[1])
    assert await told(heard, 0) == []


async def test_the_result_of_another_picture_is_a_contradiction(follower, kept, results, heard):
    """As if two results of a batch had been exchanged: the right file, and the other's findings."""
    swapped = dataclasses.replace(results[0], findings=results[1].findings, quality=results[1].quality)
    follower.expect(swapped.meta.image_id, expected(0))
    kept.add(swapped)
    [event] = await told(heard, 1)
    assert "when it is alone" in event["contradicted"]


async def test_the_result_of_another_file_is_a_contradiction(follower, kept, results, heard):
    follower.expect(results[0].meta.image_id, dataclasses.replace(expected(0), sha256="0" * 64))
    kept.add(results[0])
    [event] = await told(heard, 1)
    assert event["contradicted"] == "has the result of another file"


async def test_a_picture_judged_twice_and_differently_is_told_once(follower, kept, results, heard):
    await asyncio.sleep(0.02)
    kept.judged_twice = [results[1]]
    [event] = await told(heard, 1)
    assert event == {"event": "conflict", "image": results[1].meta.image_id}


async def test_a_picture_that_the_line_refused_is_told_with_the_reason(follower, kept, results, heard):
    note = Unreadable(results[0].meta, "truncated", "It ends too soon.")
    kept.exams["exam-0"] = Exam("exam-0", "demo", 1, 1, 0.0, (), None, (note,))
    follower.expect(results[0].meta.image_id, expected(0))
    [event] = await told(heard, 1)
    assert event == {"event": "refused", "image": results[0].meta.image_id, "why": "truncated"}
