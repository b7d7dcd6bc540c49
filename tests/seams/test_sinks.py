from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from redis import Redis

from eyestream.sinks.memory import MemorySink
from eyestream.sinks.redis import RedisSink
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.testing import redis_server
from eyestream.testing.contracts_sink import SinkContract, Store

EXAMPLE = Path(__file__).parents[2] / "examples" / "02_add_a_sink.py"
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


class TestMemorySink(SinkContract):
    @pytest.fixture
    def store(self, judge):
        sink = MemorySink(judge)
        return Store((sink, sink), sink)


class TestTheSinkOfTheExample(SinkContract):
    @pytest.fixture
    async def store(self, judge, tmp_path):
        example = runpy.run_path(str(EXAMPLE))
        sinks = tuple(example["SqliteSink"](tmp_path / "results.db", judge) for _ in range(2))
        yield Store(sinks, sinks[0])
        for sink in sinks:
            await sink.close()


class OnRedis(SinkContract):
    """Two workers and a reader on the server at `url`, which is emptied first."""

    cluster = False

    @pytest.fixture
    async def store(self, judge, urls):
        for url in urls:
            with Redis.from_url(url) as client:
                client.flushall()
        sinks = (
            RedisSink(urls[0], judge, cluster=self.cluster, shards=4),
            RedisSink(urls[-1], judge, cluster=self.cluster, shards=4),
        )
        reader = ResultsReader(urls[0], cluster=self.cluster, poll_s=0.01)
        yield Store(sinks, reader)
        for each in (*sinks, reader):
            await each.close()


@pytest.mark.stack
class TestRedisSink(OnRedis):
    @pytest.fixture
    def urls(self, one_server):
        return one_server


@pytest.mark.stack
class TestRedisSinkOnACluster(OnRedis):
    cluster = True

    @pytest.fixture
    def urls(self, three_nodes):
        return three_nodes
