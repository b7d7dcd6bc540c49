"""What becomes of results when the server is killed, frozen, full, foreign or forgetful."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from eyestream.errors import Misconfigured, Unavailable
from eyestream.sinks.redis import RedisSink
from eyestream.sinks.redis_keys import Keys
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.testing import redis_server
from eyestream.testing.screenings import Judge, a_screening

pytestmark = pytest.mark.stack
SERVERS = redis_server.binaries()
VALKEY = SERVERS["valkey"]


@pytest.fixture
def server(tmp_path):
    with redis_server.running(VALKEY, tmp_path / "redis") as server:
        yield server


@pytest.fixture
def client(server):
    with Redis(port=server.port, decode_responses=True) as client:
        yield client


@pytest.fixture
async def open_sink(server):
    opened = []

    def open_(**options):
        sink = RedisSink(options.pop("url", server.url), Judge(), **{"timeout_s": 2.0, **options})
        opened.append(sink)
        return sink

    yield open_
    for sink in opened:
        await sink.close()


@pytest.fixture
async def results(server):
    reader = ResultsReader(server.url)
    yield reader
    await reader.close()


async def test_everything_acknowledged_with_an_fsync_survives_kill_9_amid_writes(server, open_sink, results):
    batches = [
        [a_screening(f"image-{batch}-{number}", f"exam-{batch % 9}") for number in range(8)] for batch in range(60)
    ]
    acknowledged = []

    async def write(sink, mine):
        for number, batch in enumerate(mine):
            try:
                await sink.store(batch)
            except Unavailable:
                return
            acknowledged.extend(batch)
            if sink is sinks[0] and number == len(mine) // 2:
                server.kill()

    sinks = [open_sink(wait_fsync=True), open_sink(wait_fsync=True)]
    await asyncio.gather(write(sinks[0], batches[::2]), write(sinks[1], batches[1::2]))
    assert 0 < len(acknowledged) < 8 * len(batches)
    server.start()
    for screening in acknowledged:
        kept = await results.screening(screening.meta.exam_id, screening.meta.image_id, screening.identity)
        assert kept is not None

    outcomes = [outcome for batch in batches for outcome in await sinks[0].store(batch)]
    assert outcomes.count("conflict") == 0
    assert outcomes.count("duplicate") >= len(acknowledged)
    for exam_number in range(9):
        exam = await results.exam(f"exam-{exam_number}")
        assert exam.decided == exam.version == len(exam.pictures)
    assert sum([len((await results.exam(f"exam-{number}")).pictures) for number in range(9)]) == 8 * len(batches)


async def test_a_server_that_comes_back_empty_is_taught_the_functions_again(tmp_path, open_sink):
    with redis_server.running(VALKEY, tmp_path / "forgetful", appendonly="no") as forgetful:
        sink = open_sink(url=forgetful.url)
        assert await sink.store([a_screening("a")]) == ["stored"]
        forgetful.kill()
        with pytest.raises(Unavailable):
            await sink.store([a_screening("a")])
        with pytest.raises(Unavailable):
            await sink.check()
        forgetful.start()
        assert await sink.store([a_screening("a")]) == ["stored"]


async def test_functions_flushed_under_a_running_worker_are_loaded_again(client, open_sink):
    sink = open_sink()
    await sink.store([a_screening("a")])
    client.function_flush()
    assert await sink.store([a_screening("a"), a_screening("b", "exam-2")]) == ["duplicate", "stored"]


async def test_a_frozen_server_is_unavailable_and_what_it_did_meanwhile_is_a_duplicate(server, open_sink):
    sink = open_sink(timeout_s=0.2, wait_timeout_ms=100)
    await sink.store([a_screening("a")])
    server.freeze()
    with pytest.raises(Unavailable):
        await sink.store([a_screening("b")])
    server.thaw()
    assert (await sink.store([a_screening("b")]))[0] in {"stored", "duplicate"}
    assert await sink.store([a_screening("b")]) == ["duplicate"]


async def test_a_replica_that_takes_no_writes_is_unavailable(client, open_sink):
    sink = open_sink()
    await sink.store([a_screening("a")])
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(Unavailable):
        await sink.store([a_screening("b")])
    with pytest.raises(Unavailable):
        await sink.check()
    client.execute_command("REPLICAOF", "NO", "ONE")
    assert await sink.store([a_screening("b")]) == ["stored"]


async def test_a_full_server_is_unavailable_and_has_stored_no_part(client, open_sink, results):
    sink = open_sink()
    await sink.store([a_screening("a")])
    client.config_set("maxmemory", "1mb")
    with pytest.raises(Unavailable):
        await sink.store([a_screening("b")])
    with pytest.raises(Unavailable):
        await sink.check()
    client.config_set("maxmemory", "0")
    assert [picture.image_id for picture in (await results.exam("exam-1")).pictures] == ["a"]
    assert await sink.store([a_screening("b")]) == ["stored"]


async def test_a_key_of_another_kind_is_a_bug_and_not_an_outage(client, open_sink):
    sink = open_sink()
    client.set(Keys(16).exam("exam-1"), "somebody else's")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await sink.store([a_screening("a")])


async def test_a_wrong_password_is_misconfigured(client, open_sink):
    client.config_set("requirepass", "not-this-one")
    with pytest.raises(Misconfigured, match="password"):
        await open_sink().check()


async def test_another_number_of_shards_is_refused_before_anything_is_stored_twice(open_sink):
    await open_sink(shards=16).store([a_screening("a")])
    with pytest.raises(Misconfigured, match="16"):
        await open_sink(shards=8).store([a_screening("a")])


async def test_a_reader_of_an_empty_server_says_so(results):
    with pytest.raises(Misconfigured, match="no results"):
        await results.exam("exam-1")


async def test_an_fsync_that_the_server_cannot_give_is_refused_at_the_start(tmp_path, open_sink):
    with (
        redis_server.running(VALKEY, tmp_path / "no-aof", appendonly="no") as forgetful,
        pytest.raises(Misconfigured, match="appendonly"),
    ):
        await open_sink(url=forgetful.url, wait_fsync=True).check()


async def test_without_waitaof_an_fsync_is_only_promised_by_a_server_that_always_does(tmp_path, open_sink):
    """As Redis 7.0, which Debian 12 has."""
    old = {"rename_command": 'WAITAOF ""'}
    with (
        redis_server.running(VALKEY, tmp_path / "everysec", **old) as server,
        pytest.raises(Misconfigured, match="appendfsync always"),
    ):
        await open_sink(url=server.url, wait_fsync=True).check()
    with redis_server.running(VALKEY, tmp_path / "always", appendfsync="always", **old) as server:
        assert await open_sink(url=server.url, wait_fsync=True).store([a_screening("a")]) == ["stored"]


async def test_a_result_that_too_few_replicas_hold_is_unavailable_until_they_do(server, tmp_path, open_sink):
    sink = open_sink(wait_replicas=1, wait_timeout_ms=100)
    with pytest.raises(Unavailable, match="0 of 1 replicas"):
        await sink.store([a_screening("a")])
    with redis_server.running(VALKEY, tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}"):
        patient = open_sink(wait_replicas=1, wait_timeout_ms=10_000)
        assert await patient.store([a_screening("a")]) == ["duplicate"]


async def test_a_server_that_forgets_is_warned_of(tmp_path, open_sink, caplog):
    with redis_server.running(
        VALKEY, tmp_path / "cache", appendonly="no", maxmemory="1gb", maxmemory_policy="allkeys-lru"
    ) as cache:
        await open_sink(url=cache.url).check()
    assert "maxmemory-policy allkeys-lru" in caplog.text
    assert "append-only" in caplog.text
    assert {record.action for record in caplog.records} <= {"started"}


async def test_a_safe_server_is_not_warned_of(open_sink, caplog):
    await open_sink(wait_fsync=True).check()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_of_a_cluster_that_lost_a_node_the_rest_goes_on(tmp_path):
    with redis_server.running_cluster(VALKEY, tmp_path) as nodes:
        sink = RedisSink(nodes[0].url, Judge(), cluster=True, timeout_s=1.0, wait_fsync=True)
        screenings = [a_screening("a", f"exam-{number}") for number in range(30)]
        assert set(await sink.store(screenings)) == {"stored"}
        nodes[2].kill()
        with pytest.raises(Unavailable):
            await sink.store(screenings)
        nodes[2].start()
        assert set(await once_it_is_back(lambda: sink.store(screenings))) == {"duplicate"}
        await sink.close()


async def once_it_is_back(call):
    async with asyncio.timeout(20):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.2)
