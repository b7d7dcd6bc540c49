"""The local stack's parts, killed, mended, stopped and started as a person would."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import redis
import tritonclient.grpc as triton
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from eyestream.apps.local import Endpoints, PartFailed, Stack
from eyestream.apps.local.commands import commands
from eyestream.apps.local.triton import infer_once
from eyestream.errors import Unavailable

pytestmark = pytest.mark.stack


def ask(url: str, model: str, given: str, wanted: str, values: np.ndarray) -> np.ndarray:
    tensor = triton.InferInput(given, values.shape, "UINT8")
    tensor.set_data_from_numpy(values)
    with triton.InferenceServerClient(url) as client:
        return client.infer(model, [tensor], client_timeout=20).as_numpy(wanted)


def embed(url: str, pixels: np.ndarray) -> np.ndarray:
    return ask(url, "tiny", "pixels", "embedding", pixels)


def pictures(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@contextlib.contextmanager
def admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        yield client
    finally:
        client.close()


def produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=16 * 2**20)
    try:
        producer.send(topic, value).get(timeout=20)
    finally:
        producer.close()


def consume(bootstrap: str, topic: str, **options: object) -> list[bytes]:
    """The first value of the topic, and whatever else comes with it."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_bytes=32 * 2**20, **options
    )
    try:
        deadline = time.monotonic() + 60
        while not (batches := consumer.poll(timeout_ms=1000)) and time.monotonic() < deadline:
            pass
        return [record.value for records in batches.values() for record in records]
    finally:
        consumer.close()


def test_every_part_runs_and_was_used(stack: Stack):
    assert {part.name: part.state for part in stack.status()} == dict.fromkeys(("kafka", "redis", "triton"), "running")


def test_a_second_up_downloads_builds_and_starts_nothing(stack: Stack):
    before = [stack.pids(part) for part in ("kafka", "redis", "triton")]
    lines: list[str] = []
    stack.up(lambda part, line: lines.append(line))
    assert [stack.pids(part) for part in ("kafka", "redis", "triton")] == before
    assert lines.count("already running") == 3
    assert not any("download" in line or "install" in line or "formatting" in line for line in lines)


def test_nothing_listens_beyond_the_loopback_interface(stack: Stack):
    ours = {pid for part in ("kafka", "redis", "triton") for pid in stack.pids(part)}
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for pid in ours
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 6
    assert set(listening) == {"127.0.0.1"}


def test_triton_serves_the_production_layout_through_onnx_runtime(triton_url: str):
    pixels = pictures(5)
    np.testing.assert_allclose(embed(triton_url, pixels), pixels.mean(axis=(1, 2)), rtol=1e-3)


def test_merged_requests_are_answered_each_with_its_own(triton_url: str):
    batches = [pictures(1 + number % 4, number) for number in range(24)]
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda batch: embed(triton_url, batch), batches))
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, batch.mean(axis=(1, 2)), rtol=1e-3)


def test_a_request_that_fails_does_not_harm_those_it_was_merged_with(triton_url: str):
    def square(index: int) -> float | str:
        try:
            return float(ask(triton_url, "picky", "index", "square", np.array([[index]], np.uint8))[0, 0])
        except InferenceServerException as error:
            return error.message()

    with triton.InferenceServerClient(triton_url) as client:
        runs = client.get_inference_statistics("picky").model_stats[0].execution_count
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(square, [1, 2, 3, 200, 5, 6, 7, 8]))
        runs = client.get_inference_statistics("picky").model_stats[0].execution_count - runs
    assert runs < 8, "the requests were not merged, so this shows nothing"
    assert answers[:3] + answers[4:] == [1, 4, 9, 25, 36, 49, 64]
    assert "out of" in str(answers[3])


def test_a_killed_model_process_is_found_by_using_it_and_mended(stack: Stack, triton_url: str):
    for stub in stack.stubs("tiny"):
        os.kill(stub, signal.SIGKILL)
    with triton.InferenceServerClient(triton_url) as client:
        assert client.is_model_ready("tiny"), "Triton has learnt to tell: the canary may go"
    assert {part.state for part in stack.status() if part.name == "triton"} == {"not ready"}
    with pytest.raises(Unavailable, match="tiny"):
        infer_once(triton_url, "tiny")
    stack.mend("tiny")
    assert len(stack.stubs("tiny")) == 2
    assert embed(triton_url, pictures(2)).shape == (2, 3)


def test_killed_triton_comes_back_and_leaves_no_shared_memory_behind(stack: Stack, triton_url: str):
    regions = [
        Path("/dev/shm") / argument
        for stub in stack.stubs("tiny")
        for argument in psutil.Process(stub).cmdline()
        if argument.startswith("eyestream-")
    ]
    assert len(regions) == 2
    assert all(region.exists() for region in regions)
    stack.kill("triton")
    stack.start("triton")
    assert embed(triton_url, pictures(2)).shape == (2, 3)
    assert not any(region.exists() for region in regions)


def test_killed_redis_comes_back_with_what_it_had(stack: Stack, redis_url: str):
    key = f"test:{uuid.uuid4()}"
    with redis.Redis.from_url(redis_url) as client:
        client.set(key, "kept")
    stack.kill("redis")
    stack.start("redis")
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(key) == b"kept"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.delete(key)


def test_killed_kafka_comes_back_with_what_it_had(stack: Stack, topic: str, kafka_bootstrap: str):
    produce(kafka_bootstrap, topic, b"kept")
    stack.kill("kafka")
    stack.start("kafka")
    assert consume(kafka_bootstrap, topic) == [b"kept"]


def test_kafka_takes_a_picture_of_almost_sixteen_mebibytes_and_a_group_of_six_seconds(topic: str, kafka_bootstrap: str):
    picture = np.random.default_rng(1).bytes(16 * 2**20 - 4096)
    produce(kafka_bootstrap, topic, picture)
    read = consume(kafka_bootstrap, topic, group_id=topic, session_timeout_ms=6000, heartbeat_interval_ms=2000)
    assert read == [picture]


def test_the_lines_topics_are_there(kafka_bootstrap: str):
    with admin(kafka_bootstrap) as client:
        topics = {topic["name"]: len(topic["partitions"]) for topic in client.describe_topics()}
    assert topics["screening.images"] == 4
    assert topics["screening.images.dlq"] == 1


def test_data_and_topics_survive_down_and_up_beside_another_stack(stack: Stack, tmp_path: Path, model_repository: Path):
    parts = ("kafka", "redis")
    with Stack(tmp_path, model_repository=model_repository, parts=parts) as other:
        before = other.up()
        assert before != stack.endpoints
        produce(before.kafka, "screening.images", b"kept")
        with redis.Redis.from_url(before.redis_url) as client:
            client.set("key", "kept")
        other.down()
        assert {part.state for part in stack.status()} == {"running"}
        wider = Stack(tmp_path, model_repository=model_repository, parts=parts, partitions=6)
        after = wider.up()
        with redis.Redis.from_url(after.redis_url) as client:
            assert client.get("key") == b"kept"
        assert consume(after.kafka, "screening.images") == [b"kept"]
        with admin(after.kafka) as client:
            described = {topic["name"]: len(topic["partitions"]) for topic in client.describe_topics()}
        assert described["screening.images"] == 6


def test_volumes_are_answered_one_by_one_each_with_its_own(tmp_path: Path):
    model = tmp_path / "repository" / "volumes"
    (model / "1").mkdir(parents=True)
    cast = helper.make_node("Cast", ["voxels"], ["numbers"], to=TensorProto.FLOAT)
    mean = helper.make_node("ReduceMean", ["numbers", "sides"], ["mean"], keepdims=0)
    half = helper.make_node("Cast", ["mean"], ["half"], to=TensorProto.FLOAT16)
    graph = helper.make_graph(
        [cast, mean, half],
        "volumes",
        [helper.make_tensor_value_info("voxels", TensorProto.UINT8, ["batch", 3, 4, 4, 1])],
        [helper.make_tensor_value_info("half", TensorProto.FLOAT16, ["batch", 1])],
        [helper.make_tensor("sides", TensorProto.INT64, [3], [1, 2, 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), model / "1/model.onnx"
    )
    (model / "config.pbtxt").write_text(
        'name: "volumes"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
        'input [{ name: "voxels" data_type: TYPE_UINT8 dims: [3, 4, 4, 1] }]\n'
        'output [{ name: "half" data_type: TYPE_FP16 dims: [1] }]\n'
    )
    voxels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4, 1), dtype=np.uint8)
    with Stack(tmp_path / "state", model_repository=tmp_path / "repository", parts=("triton",)) as stack:
        answer = ask(stack.up().triton_grpc, "volumes", "voxels", "half", voxels)
    np.testing.assert_allclose(answer[:, 0], voxels.mean(axis=(1, 2, 3, 4)), rtol=1e-3)


def test_a_model_that_does_not_load_is_told_with_its_log_and_leaves_nothing_running(tmp_path: Path):
    model = tmp_path / "repository" / "broken"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.onnx").write_bytes(b"not a model")
    (model / "config.pbtxt").write_text(
        'name: "broken"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
        'input [{ name: "pixels" data_type: TYPE_UINT8 dims: [8, 8, 3] }]\n'
        'output [{ name: "embedding" data_type: TYPE_FP16 dims: [3] }]\n'
    )
    with Stack(tmp_path / "state", model_repository=tmp_path / "repository", parts=("triton",)) as stack:
        began = time.monotonic()
        with pytest.raises(PartFailed) as failure:
            stack.up()
        assert time.monotonic() - began < 60
        assert "broken" in str(failure.value)
        assert "correct it in the model repository" in str(failure.value)
        assert stack.pids("triton") == ()


def test_the_command_line_starts_tells_restarts_and_ends(tmp_path: Path):
    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(commands, [*words, "--state", str(tmp_path / "state")])
        assert done.exit_code == code, done.output
        return done.stdout

    try:
        exported = run("up", "--part", "redis")
        assert exported.startswith("export EYESTREAM_REDIS__URL=redis://127.0.0.1:")
        assert run("env") == exported
        (part,) = map(json.loads, run("status", "--json").splitlines())
        assert (part["name"], part["state"]) == ("redis", "running")
        run("restart", "redis")
        assert part["pid"] != json.loads(run("status", "--json"))["pid"]
        assert "running" in run("status")
        assert "Ready to accept connections" in run("logs", "redis")
    finally:
        run("down")
    assert "stopped" in run("status", code=1)


def test_starting_one_part_hides_none_that_runs(tmp_path: Path, model_repository: Path):
    state = tmp_path / "state"
    with Stack(state, model_repository=model_repository, parts=("redis",)) as stack:
        url = stack.up().redis_url
        Stack(state, model_repository=model_repository, parts=()).up()
        assert Endpoints.read(state).redis_url == url
        assert {part.name: part.state for part in Stack.reopen(state).status()} == {"redis": "running"}
    assert Stack(state, model_repository=model_repository, parts=()).up() == Endpoints()


def test_endpoints_are_read_from_the_state_folder(stack: Stack, endpoints: Endpoints):
    assert Endpoints.read(stack.state) == endpoints
