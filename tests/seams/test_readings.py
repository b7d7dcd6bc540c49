from __future__ import annotations

import pytest
from redis import Redis

from eyestream.sinks.memory import MemorySink
from eyestream.sinks.memory_readings import MemoryReadings
from eyestream.sinks.redis import RedisSink
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.sinks.redis_readings import RedisReadings
from eyestream.testing import redis_server
from eyestream.testing.contracts_readings import ADA, QUARTER, Desk, ReadingsContract, an_actor
from eyestream.testing.screenings import Crashed, a_screening

SERVERS = redis_server.binaries()
# A machine without a server must fail here, not pass by testing nothing.
NAMES = sorted(SERVERS) or ["valkey"]


@pytest.fixture(scope="module", params=NAMES)
def one_server(request, tmp_path_factory):
    with redis_server.running(SERVERS[request.param], tmp_path_factory.mktemp("redis")) as server:
        yield [server.url]


@pytest.fixture(scope="module", params=NAMES)
def three_nodes(request, tmp_path_factory):
    with redis_server.running_cluster(SERVERS[request.param], tmp_path_factory.mktemp("cluster")) as servers:
        yield [server.url for server in servers]


class TestMemoryReadings(ReadingsContract):
    @pytest.fixture
    def desk(self, judge, clock):
        sink = MemorySink(judge)
        readings = MemoryReadings(sink, clock=clock)
        return Desk(sink, readings, readings, readings)


class OnRedis(ReadingsContract):
    """The line and its readers on the server at `url`, which is emptied first."""

    cluster = False

    @pytest.fixture
    async def desk(self, judge, clock, urls):
        for url in urls:
            with Redis.from_url(url) as client:
                client.flushall()
        sink = RedisSink(urls[0], judge, cluster=self.cluster, shards=4)
        await sink.check()
        readings = RedisReadings(urls[-1], cluster=self.cluster, clock=clock)
        yield Desk(sink, readings, readings, readings)
        await sink.close()
        await readings.close()

    @pytest.fixture
    async def results(self, desk, urls):
        reader = ResultsReader(urls[0], cluster=self.cluster)
        yield reader
        await reader.close()

    async def test_a_decided_exam_leaves_the_worklist_and_a_reopened_one_is_back_in_its_place(self, desk, results):
        await desk.sink.store(
            [a_screening(f"img-{number}", f"exam-{number}", probability=0.5 + number / 10) for number in (0, 2, 3)]
        )
        before = await results.worklist("diabetic")
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert claimed.reading is not None
        assert await results.worklist("diabetic") == before
        done = await desk.decide(ADA, claimed.reading.version)
        assert done.reading is not None
        left = [entry.exam_id for entry in (await results.worklist("diabetic")).entries]
        assert left == ["exam-3", "exam-2", "exam-0"]
        assert len(before.entries) == 4
        await desk.readings.reopen("exam-1", ADA, seen=done.reading.version)
        assert await results.worklist("diabetic") == before

    async def test_a_reopened_exam_that_the_line_cleared_is_not_listed(self, desk, results):
        await desk.sink.store([a_screening("img-2", "exam-2", probability=0.1)])
        claimed = await desk.readings.claim("exam-2", ADA, for_s=QUARTER)
        assert claimed.reading is not None
        seen = claimed.reading.version
        done = await desk.readings.decide("exam-2", ADA, outcome="refer", urgency="soon", comment="", seen=seen)
        assert done.reading is not None
        assert (await desk.readings.reopen("exam-2", ADA, seen=done.reading.version)).fate == "done"
        assert [entry.exam_id for entry in (await results.worklist("diabetic")).entries] == ["exam-1"]

    async def test_an_exam_read_before_the_line_decided_its_last_picture_is_not_listed_again(
        self, desk, results, judge
    ):
        judge.crash_next()
        with pytest.raises(Crashed):
            await desk.sink.store([a_screening("img-2")])
        claimed = await desk.readings.claim("exam-1", ADA, for_s=QUARTER)
        assert claimed.reading is not None
        assert (await desk.decide(ADA, claimed.reading.version)).fate == "done"
        assert await desk.sink.store([a_screening("img-2")]) == ["duplicate"]
        assert (await desk.standing()).state == "decided"
        assert (await results.worklist("diabetic")).entries == ()
        await desk.readings.reopen("exam-1", ADA, seen=(await desk.standing()).version)
        assert [entry.exam_id for entry in (await results.worklist("diabetic")).entries] == ["exam-1"]

    async def test_of_many_readers_at_once_one_gets_the_exam(self, desk):
        import asyncio

        answers = await asyncio.gather(
            *(desk.readings.claim("exam-1", an_actor(f"reader-{number}"), for_s=QUARTER) for number in range(20))
        )
        assert sorted(answer.fate for answer in answers) == ["done"] + ["taken"] * 19
        assert len(await self.all_entries(desk)) == 1


@pytest.mark.stack
class TestRedisReadings(OnRedis):
    @pytest.fixture
    def urls(self, one_server):
        return one_server


@pytest.mark.stack
class TestRedisReadingsOnACluster(OnRedis):
    cluster = True

    @pytest.fixture
    def urls(self, three_nodes):
        return three_nodes
