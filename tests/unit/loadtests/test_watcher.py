"""What the watcher says of results: read once, at the time of reading, and told apart from another picture's."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib

import numpy as np
import pytest

from eyestream.banks.build import build
from eyestream.errors import Unavailable
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
        self.away = False

    def add(self, result):
        exam = result.meta.exam_id
        self.results.setdefault(exam, []).append(result)
        event = Decided(exam, "demo", "clear", "none", 0, 1, 0.0)
        self.happened.append(Happening(0, (1, len(self.happened) + 1), event))

    async def screenings(self, exam):
        if self.away:
            raise Unavailable("redis", "it went")
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


async def begun(kept, alone, heard, **settings):
    def tell(event, **facts):
        heard.append({"event": event, **facts})

    made = Watcher(kept, kept, alone, programme="demo", tell=tell, **settings)
    await made.begin()
    assert heard == [{"event": "ready"}]
    heard.clear()
    return made


@pytest.fixture
async def watcher(kept, alone, heard):
    """One that looks when a test says so, and then also for what no feed tells of."""
    return await begun(kept, alone, heard, look_again_s=0.0)


@pytest.fixture
async def seldom(kept, alone, heard):
    """One that goes by the feed: it has just looked for the rest, and does so again long after the test."""
    made = await begun(kept, alone, heard, look_again_s=3600.0)
    await made.look()
    return made


async def told(watcher, heard):
    """What it tells in one look. In a second one it must tell nothing anew."""
    await watcher.look()
    events = list(heard)
    await watcher.look()
    assert heard == events
    return events


async def test_a_result_is_told_once_with_its_times_and_its_bank(watcher, kept, results, head, heard):
    watcher.expect(results[0].meta.image_id, expected(0))
    kept.add(results[0])
    [event] = await told(watcher, heard)
    assert event["event"] == "readable"
    assert event["image"] == results[0].meta.image_id
    assert event["bank"] == head.digest
    assert event["timings"]["encoded"] == 5.0
    assert event["contradicted"] is None


async def test_a_result_that_came_before_it_was_expected_is_not_missed(seldom, kept, results, heard):
    kept.add(results[0])
    assert await told(seldom, heard) == []
    seldom.expect(results[0].meta.image_id, expected(0))
    [event] = await told(seldom, heard)
    assert event["image"] == results[0].meta.image_id


async def test_a_result_that_no_feed_tells_of_is_found_all_the_same(watcher, kept, results, heard):
    watcher.expect(results[0].meta.image_id, expected(0))
    kept.results["exam-0"] = [results[0]]
    [event] = await told(watcher, heard)
    assert event["event"] == "readable"


async def test_what_no_feed_tells_of_is_looked_for_only_now_and_then(seldom, kept, results, heard):
    seldom.expect(results[0].meta.image_id, expected(0))
    kept.results["exam-0"] = [results[0]]
    assert await told(seldom, heard) == []


async def test_somebody_else_s_results_are_nobody_s_business(watcher, kept, results, heard):
    kept.add(results[1])
    assert await told(watcher, heard) == []


async def test_the_result_of_another_picture_is_a_contradiction(watcher, kept, results, heard):
    """As if two results of a batch had been exchanged: the right file, and the other's findings."""
    swapped = dataclasses.replace(results[0], findings=results[1].findings, quality=results[1].quality)
    watcher.expect(swapped.meta.image_id, expected(0))
    kept.add(swapped)
    [event] = await told(watcher, heard)
    assert "when it is alone" in event["contradicted"]


async def test_the_result_of_another_file_is_a_contradiction(watcher, kept, results, heard):
    watcher.expect(results[0].meta.image_id, dataclasses.replace(expected(0), sha256="0" * 64))
    kept.add(results[0])
    [event] = await told(watcher, heard)
    assert event["contradicted"] == "has the result of another file"


async def test_a_picture_judged_twice_and_differently_is_told_once(watcher, kept, results, heard):
    kept.judged_twice = [results[1]]
    [event] = await told(watcher, heard)
    assert event == {"event": "conflict", "image": results[1].meta.image_id}


async def test_a_picture_that_the_line_refused_is_told_with_the_reason(watcher, kept, results, heard):
    note = Unreadable(results[0].meta, "truncated", "It ends too soon.")
    kept.exams["exam-0"] = Exam("exam-0", "demo", 1, 1, 0.0, (), None, (note,))
    watcher.expect(results[0].meta.image_id, expected(0))
    [event] = await told(watcher, heard)
    assert event == {"event": "refused", "image": results[0].meta.image_id, "why": "truncated"}


async def test_a_store_that_was_away_costs_no_result(watcher, kept, results, heard):
    watcher.expect(results[0].meta.image_id, expected(0))
    kept.add(results[0])
    kept.away = True
    with pytest.raises(Unavailable):
        await watcher.look()
    kept.away = False
    [event] = await told(watcher, heard)
    assert event["event"] == "readable"


async def test_following_begins_and_then_looks_until_it_is_ended(kept, alone, results):
    events: asyncio.Queue[str] = asyncio.Queue()
    watcher = Watcher(
        kept, kept, alone, programme="demo", tell=lambda event, **_: events.put_nowait(event), poll_s=0.001
    )
    following = asyncio.create_task(watcher.follow())
    assert await asyncio.wait_for(events.get(), 60) == "ready"
    watcher.expect(results[0].meta.image_id, expected(0))
    kept.add(results[0])
    assert await asyncio.wait_for(events.get(), 60) == "readable"
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
