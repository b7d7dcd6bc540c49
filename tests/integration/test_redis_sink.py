"""What the contract cannot see: the keys themselves, their lifetimes, races between workers, and large replays."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import threading

import pytest
from redis import Redis
from redis.crc import key_slot

from eyestream.errors import Unavailable
from eyestream.records import now, utc
from eyestream.sinks.redis import RedisSink
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.testing import redis_server
from eyestream.testing.screenings import TAKEN, Judge, a_note, a_screening

pytestmark = pytest.mark.stack
VALKEY = redis_server.binaries()["valkey"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with redis_server.running(VALKEY, tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def client(url):
    with Redis.from_url(url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
async def sink(url, client):
    sink = RedisSink(url, Judge())
    yield sink
    await sink.close()


@pytest.fixture
async def results(url):
    reader = ResultsReader(url, poll_s=0.01)
    yield reader
    await reader.close()


class Overtaken(Judge):
    """At its first decision another worker comes along, stores a batch of its own and is gone."""

    def __init__(self, url, batch):
        super().__init__()
        self.url = url
        self.batch = batch

    async def overtake(self):
        other = RedisSink(self.url, Judge())
        await other.store(self.batch)
        await other.close()

    def __call__(self, programme, exam_id, pictures):
        if self.calls == 0:
            worker = threading.Thread(target=lambda: asyncio.run(self.overtake()))
            worker.start()
            worker.join()
        return super().__call__(programme, exam_id, pictures)


async def test_a_picture_stored_between_anothers_storing_and_deciding_is_in_the_decision(url, client, results):
    sink = RedisSink(url, Overtaken(url, [a_screening("b", probability=0.95)]))
    await sink.store([a_screening("a", probability=0.1)])
    await sink.close()
    exam = await results.exam("exam-1")
    assert exam.decision.outcome == "refer"
    assert [picture.image_id for picture in exam.pictures] == ["a", "b"]
    assert exam.decided == exam.version == 2


class Failover(Judge):
    """At its first decision the server is replaced by one that never had the write."""

    def __init__(self, client):
        super().__init__()
        self.client = client

    def __call__(self, programme, exam_id, pictures):
        if self.calls == 0:
            self.client.flushall()
        return super().__call__(programme, exam_id, pictures)


async def test_a_picture_that_a_failover_lost_before_its_decision_is_not_stored(url, client, results):
    sink = RedisSink(url, Failover(client))
    with pytest.raises(Unavailable, match="forgot"):
        await sink.store([a_screening("a")])
    assert await sink.store([a_screening("a")]) == ["stored"]
    await sink.close()
    assert [result.meta.image_id for result in await results.screenings("exam-1")] == ["a"]


async def test_two_workers_that_decide_the_same_change_make_one_event_of_it(url, client):
    sink = RedisSink(url, Overtaken(url, [a_screening("a")]))
    assert await sink.store([a_screening("a")]) == ["stored"]
    await sink.close()
    [stream] = client.keys("*:results")
    assert client.xlen(stream) == 1


async def test_a_replay_of_five_thousand_pictures_leaves_counters_exact(sink, results):
    pictures = [
        a_screening(f"image-{number}", f"exam-{number // 4}", probability=(number % 100) / 100)
        for number in range(5_000)
    ]
    began = utc(now()).date()
    for _ in range(2):
        for start in range(0, len(pictures), 250):
            await sink.store(pictures[start : start + 250])
    counts = await results.counts("diabetic", began)
    if utc(now()).date() != began:
        pytest.skip("midnight passed")
    assert counts["stored"] == counts["duplicate"] == 5_000
    assert counts["refer"] + counts["clear"] == 1_250
    assert "conflict" not in counts


async def test_what_is_decided_is_not_decided_again_for_a_duplicate(url, client):
    judge = Judge()
    sink = RedisSink(url, judge)
    await sink.store([a_screening("a"), a_screening("b")])
    calls = judge.calls
    await sink.store([a_screening("a"), a_screening("b")])
    await sink.close()
    assert (calls, judge.calls) == (1, 1)


async def test_all_keys_of_an_exam_are_in_one_slot_and_exams_are_spread(sink, client):
    exams = [f"exam-{number}" for number in range(40)]
    await sink.store([a_screening("a", exam) for exam in exams])
    slots = {}
    for exam in exams:
        own = [key for key in client.scan_iter(count=1000) if f":{exam}" in f"{key}:" and key.split(":")[3] == exam]
        assert len(own) == 2
        slots[exam] = {key_slot(key.encode()) for key in own}
        assert len(slots[exam]) == 1
    assert len(set.union(*slots.values())) > 8


async def test_the_subject_is_in_results_alone(sink, client):
    await sink.store([a_screening("a"), a_screening("b", probability=0.2)])
    await sink.note_unreadable([a_note("c")])
    subject = a_screening("a").meta.subject_id
    holding = set()
    for key in client.scan_iter():
        kind = key.split(":")[2] if key.count(":") > 1 else key
        assert subject not in key
        assert a_screening("a").meta.subject_id not in key
        text = {
            "string": client.get,
            "hash": lambda key: str(client.hgetall(key)),
            "zset": lambda key: str(client.zrange(key, 0, -1)),
            "stream": lambda key: str(client.xrange(key)),
            "list": lambda key: str(client.lrange(key, 0, -1)),
        }[client.type(key)](key)
        if subject in text:
            holding.add(kind)
    assert holding == {"image", "exam"}


async def test_a_worklist_names_exams_and_nothing_of_the_eyes(sink, client):
    await sink.store([a_screening("a")])
    [worklist] = client.keys("*:worklist:*")
    assert client.zrange(worklist, 0, -1) == ["exam-1"]


async def test_results_go_when_their_programmes_time_is_over(url, client):
    sink = RedisSink(url, Judge(), retention=lambda programme: {"diabetic": 3600.0}.get(programme, 60.0))
    await sink.store([a_screening("a"), a_screening("b", "exam-2", programme="glaucoma")])
    await sink.close()
    lifetimes = {key: client.ttl(key) for key in client.scan_iter() if key.startswith("es:{")}
    for key, ttl in lifetimes.items():
        if ":image:" in key or ":exam:" in key or ":worklist:" in key or ":expiry:" in key:
            expected = 60 if "exam-2" in key or "glaucoma" in key else 3600
            assert expected - 30 < ttl <= expected, key
    assert all(ttl > 0 for ttl in lifetimes.values())


@pytest.mark.parametrize(("first", "kept"), [("diabetic", 3600), ("glaucoma", 60)])
async def test_an_exam_is_kept_as_its_own_programme_says_though_a_picture_came_under_another(url, client, first, kept):
    sink = RedisSink(url, Judge(), retention=lambda programme: {"diabetic": 3600.0}.get(programme, 60.0))
    await sink.store([a_screening("a", programme=first)])
    await sink.store([a_screening("b", programme="glaucoma" if first == "diabetic" else "diabetic")])
    await sink.close()
    [exam] = client.keys("*:exam:*")
    assert kept - 30 < client.ttl(exam) <= kept


async def test_a_worklist_forgets_exams_whose_results_are_gone(url, client, results):
    time = [now()]
    sink = RedisSink(url, Judge(), retention=lambda _programme: 1000.0, shards=1, clock=lambda: time[0])
    await sink.store([a_screening("a", "old")])
    client.delete(*client.keys("*:exam:old"))
    time[0] += 2000
    await sink.store([a_screening("a", "new")])
    await sink.close()
    assert [entry.exam_id for entry in (await results.worklist("diabetic")).entries] == ["new"]
    [worklist] = client.keys("*:worklist:*")
    assert client.zcard(worklist) == 1


@pytest.mark.parametrize("wrong", [-20_000, 20_000], ids=["behind", "ahead"])
async def test_a_worker_whose_clock_is_wrong_takes_no_exam_off_the_worklist(url, client, results, wrong):
    time = [now()]
    sink = RedisSink(url, Judge(), retention=lambda _programme: 1000.0, shards=1, clock=lambda: time[0])
    time[0] += min(0, wrong)
    await sink.store([a_screening("a", "one")])
    time[0] += abs(wrong)
    for number in range(2):
        await sink.store([a_screening("a", f"other-{number}")])
    await sink.close()
    listed = {entry.exam_id for entry in (await results.worklist("diabetic")).entries}
    assert listed == {"one", "other-0", "other-1"}


async def test_the_stream_of_decisions_is_bounded(url, client):
    sink = RedisSink(url, Judge(), shards=1, events=100)
    for start in range(0, 1000, 100):
        await sink.store([a_screening("a", f"exam-{number}") for number in range(start, start + 100)])
    await sink.close()
    [stream] = client.keys("*:results")
    assert 100 <= client.xlen(stream) < 300


async def test_the_conflicts_kept_are_bounded_and_their_counter_is_not(sink, results):
    began = utc(now()).date()
    await sink.store([a_screening("a", probability=0.9)])
    for _ in range(11):
        await sink.store([a_screening("a", probability=0.1)] * 100)
    assert len(await results.conflicts("diabetic", limit=5000)) == 1000
    if utc(now()).date() == began:
        assert (await results.counts("diabetic", began))["conflict"] == 1100


async def test_an_exam_that_the_server_evicted_is_mended_by_its_pictures_coming_again(sink, client, results):
    await sink.store([a_screening("a"), a_screening("b")])
    [exam] = client.keys("*:exam:*")
    client.delete(exam)
    assert await sink.store([a_screening("a"), a_screening("b")]) == ["duplicate", "duplicate"]
    known = await results.exam("exam-1")
    assert [picture.image_id for picture in known.pictures] == ["a", "b"]
    assert known.decision.outcome == "refer"


async def test_moments_outside_any_calendar_keep_their_rank(sink, results):
    await sink.store(
        [
            a_screening("a", "ancient", probability=0.6, captured_at="0001-01-01T00:00:00Z"),
            a_screening("a", "usual", probability=0.7),
            a_screening("a", "distant", probability=0.8, captured_at="9999-12-31T23:59:59Z"),
        ]
    )
    entries = (await results.worklist("diabetic")).entries
    assert [(entry.exam_id, entry.rank) for entry in entries] == [("distant", 80), ("usual", 70), ("ancient", 60)]


async def test_at_the_highest_rank_a_twentieth_of_a_second_still_decides_who_is_first(url, client, results):
    def decide(programme, exam_id, pictures):
        return dataclasses.replace(Judge()(programme, exam_id, pictures), rank=10_003)

    sink = RedisSink(url, decide)
    moments = {"b": 100, "c": 150, "a": 200}
    await sink.store(
        [
            a_screening("x", exam, captured_at=TAKEN + dt.timedelta(milliseconds=after))
            for exam, after in moments.items()
        ]
    )
    await sink.close()
    entries = (await results.worklist("diabetic")).entries
    assert [(entry.exam_id, entry.rank) for entry in entries] == [("b", 10_003), ("c", 10_003), ("a", 10_003)]
    for entry in entries:
        assert entry.since == pytest.approx(TAKEN.timestamp() + moments[entry.exam_id] / 1000, abs=0.02)


async def test_a_tail_waits_for_what_is_not_there_yet(sink, results):
    await sink.store([a_screening("a", "before")])
    tail = results.tail()
    waiting = asyncio.ensure_future(anext(tail))
    async with asyncio.timeout(10):
        while not waiting.done():
            await sink.store([dataclasses.replace(a_screening("b", "after"), traceparent="00")])
            await sink.store([a_screening(f"more-{now()}", "after")])
    assert waiting.result().exam_id == "after"
    await tail.aclose()


async def test_two_releases_with_other_functions_work_on_one_server(sink, client):
    client.function_load(
        "#!lua name=eyestream_older\nredis.register_function('es_store_older', function() return 1 end)"
    )
    assert await sink.store([a_screening("a")]) == ["stored"]
    assert client.fcall("es_store_older", 0) == 1
