"""From the device's spool into Kafka itself: brokers vanish, senders are killed, nothing is lost and order holds."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from PIL import Image

from eyestream import objects
from eyestream.apps.local import Stack
from eyestream.device.intake import image_id
from eyestream.device.producer import Pace, Sender
from eyestream.device.spool import Spool
from eyestream.device.transport import KafkaTarget
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import ImageMeta

pytestmark = pytest.mark.stack

PROGRAM = [sys.executable, "-c", "from eyestream.apps.cli import main; main()", "device"]


@pytest.fixture
def spool(tmp_path: Path):
    with Spool(tmp_path / "spool.db", min_free_bytes=0) as spool:
        yield spool


def fill(spool: Spool, count: int, *, exams: int, size: int = 100_000) -> list[str]:
    """Pictures of so many exams, one after the other; their image_ids in order."""
    ids = []
    for number in range(count):
        data = random.Random(number).randbytes(size)
        exam, sha256 = f"exam-{number % exams}", hashlib.sha256(data).hexdigest()
        meta = ImageMeta(
            image_id=image_id(exam, sha256, number),
            exam_id=exam,
            subject_id="a" * 32,
            site_id="north",
            device_id="cam-1",
            captured_at=dt.datetime(2024, 3, 1, tzinfo=dt.UTC),
            programme="demo",
            sha256=sha256,
        )
        spool.put(meta, data, content_type="image/jpeg")
        ids.append(meta.image_id)
    return ids


def read_topic(bootstrap: str, topic: str) -> list[tuple[ImageMeta, bytes, dict[str, bytes]]]:
    """Every record of the topic, in order within its partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=2**24)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=500).values():
                records.extend(batch)
    finally:
        consumer.close()
    read = []
    for record in records:
        headers = dict(record.headers)
        meta = ImageMeta.model_validate_json(headers["eyestream-meta"])
        assert record.key == meta.exam_id.encode()
        read.append((meta, record.value, headers))
    return read


def first_of_each(records) -> list[str]:
    return list(dict.fromkeys(meta.image_id for meta, _, _ in records))


def assert_exams_are_in_order(records, ids: list[str], exams: int) -> None:
    seen = first_of_each(records)
    for exam in range(exams):
        expected = ids[exam::exams]
        assert [image for image in seen if image in set(expected)] == expected


def test_pictures_arrive_once_whole_and_in_order(spool, kafka_bootstrap, topic):
    ids = fill(spool, 60, exams=7)
    sender = Sender(spool, KafkaTarget(bootstrap=kafka_bootstrap, topic=topic).connect, max_message_bytes=2**24)
    sender.run(until=lambda: spool.depth().waiting == 0, poll_s=0.05)
    records = read_topic(kafka_bootstrap, topic)
    assert len(records) == 60
    assert sorted(meta.image_id for meta, _, _ in records) == sorted(ids)
    assert all(hashlib.sha256(value).hexdigest() == meta.sha256 for meta, value, _ in records)
    assert_exams_are_in_order(records, ids, 7)


@pytest.mark.timeout(240)
def test_a_broker_that_dies_while_pictures_are_sent_loses_none(spool, stack: Stack, kafka_bootstrap, tmp_path):
    # A topic of its own that stays: fixtures' clean-up must not meet a broker that has just come back.
    topic = f"device-{uuid.uuid4().hex[:12]}"
    _create(kafka_bootstrap, topic)
    ids = fill(spool, 150, exams=20)
    target = KafkaTarget(bootstrap=kafka_bootstrap, topic=topic, connect_timeout_s=3.0, delivery_timeout_s=4.0)
    pace = Pace(max_in_flight=8, first_wait_s=0.1, longest_wait_s=1.0)
    sender = Sender(spool, target.connect, max_message_bytes=2**24, pace=pace)
    thread = threading.Thread(target=sender.run, kwargs={"until": lambda: spool.depth().waiting == 0, "poll_s": 0.05})
    thread.start()
    _until(lambda: spool.depth().sent >= 30)
    stack.kill("kafka")
    try:
        time.sleep(6)  # longer than a delivery may take: records under way fail and the connection is given up
        assert spool.depth().waiting > 0
    finally:
        stack.start("kafka")
    thread.join(120)
    assert not thread.is_alive()
    assert spool.depth().sent == 150
    records = read_topic(kafka_bootstrap, topic)
    assert set(first_of_each(records)) == set(ids)
    assert all(hashlib.sha256(value).hexdigest() == meta.sha256 for meta, value, _ in records)
    assert_exams_are_in_order(records, ids, 20)


SENDER = """
import pathlib, sys
from eyestream.device.producer import Sender
from eyestream.device.spool import Spool
from eyestream.device.transport import KafkaTarget
spool = Spool(pathlib.Path(sys.argv[1]), min_free_bytes=0)
target = KafkaTarget(bootstrap=sys.argv[2], topic=sys.argv[3])
Sender(spool, target.connect, max_message_bytes=2**24).run(until=lambda: spool.depth().waiting == 0, poll_s=0.02)
print("empty", flush=True)
"""


@pytest.mark.timeout(240)
def test_kill_9_of_a_sender_loses_nothing_and_what_comes_twice_has_one_name(spool, kafka_bootstrap, topic):
    ids = fill(spool, 120, exams=12, size=300_000)
    arguments = [sys.executable, "-c", SENDER, str(spool.path), kafka_bootstrap, topic]
    kills = 0
    for share in (0.2, 0.5, 0.7, 2.0):
        sender = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        _until(lambda share=share, sender=sender: spool.depth().sent >= share * 120 or sender.poll() is not None)
        sender.send_signal(signal.SIGKILL)
        out, _ = sender.communicate()
        kills += sender.returncode == -signal.SIGKILL
    assert out == "empty\n"
    assert kills >= 2
    records = read_topic(kafka_bootstrap, topic)
    assert set(first_of_each(records)) == set(ids)
    assert len({(meta.image_id, value) for meta, value, _ in records}) == 120
    assert_exams_are_in_order(records, ids, 12)


@pytest.mark.timeout(120)
def test_a_topic_smaller_than_we_were_told_gets_references(spool, kafka_bootstrap, tmp_path):
    topic = f"small-{uuid.uuid4().hex[:12]}"
    _create(kafka_bootstrap, topic, **{"max.message.bytes": "50000"})
    (tmp_path / "store").mkdir()
    ids = fill(spool, 4, exams=4, size=60_000)
    sender = Sender(
        spool,
        KafkaTarget(bootstrap=kafka_bootstrap, topic=topic).connect,
        max_message_bytes=2**24,
        store_url=str(tmp_path / "store"),
        pace=Pace(first_wait_s=0.05, longest_wait_s=0.2),
    )
    sender.run(until=lambda: spool.depth().waiting == 0, poll_s=0.05)
    records = read_topic(kafka_bootstrap, topic)
    assert {meta.image_id for meta, _, _ in records} == set(ids)
    for meta, value, headers in records:
        assert value == b""
        reference = headers["eyestream-ref"].decode()
        assert objects.fetch(reference, sha256=meta.sha256, max_bytes=60_000, allowed=[str(tmp_path / "store")])


def test_a_topic_that_is_not_there_is_waited_for(kafka_bootstrap):
    transport = KafkaTarget(bootstrap=kafka_bootstrap, topic="no-such-topic", connect_timeout_s=1.0).connect()
    with pytest.raises(Unavailable, match="no-such-topic"):
        transport.send(key=b"k", value=b"v", headers=[], done=lambda _: None)
    transport.close()


def test_a_broker_that_is_not_there_is_waited_for():
    before = time.monotonic()
    with pytest.raises(Unavailable, match="kafka"):
        KafkaTarget(bootstrap="127.0.0.1:1", connect_timeout_s=1.0).connect()
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("security", [{"no_such_option": 1}, {"security_protocol": "TLS"}])
def test_options_that_cannot_be_are_the_operators_fault(kafka_bootstrap, security):
    with pytest.raises(Misconfigured, match="options"):
        KafkaTarget(bootstrap=kafka_bootstrap, security=security).connect()


def test_the_program_sends_a_folder_and_tells_what_it_refused(kafka_bootstrap, topic, tmp_path):
    folder, options = _camera(tmp_path, kafka_bootstrap, topic)
    sent = _run("send", str(folder), "--pattern", "{exam}_{laterality}_{field}", "--plain-exams", *options)
    assert sent.returncode == 1, "one file was refused"
    assert sent.stdout == "5 files: 4 new pictures, 0 known already, 1 files refused\n"
    assert "not-a-picture" in sent.stderr
    assert "Lindqvist" not in sent.stdout + sent.stderr
    records = read_topic(kafka_bootstrap, topic)
    told = {(meta.exam_id, meta.laterality, meta.field) for meta, _, _ in records}
    assert told == {(exam, eye, "macula") for exam in ("E1", "E2") for eye in ("R", "L")}
    again = _run("send", str(folder), "--pattern", "{exam}_{laterality}_{field}", "--plain-exams", *options)
    assert again.stdout == "5 files: 0 new pictures, 4 known already, 1 files refused\n"
    assert len(read_topic(kafka_bootstrap, topic)) == 4
    status = _run("status", "--json", "--spool", str(tmp_path / "spool.db"))
    depth = json.loads(status.stdout)
    assert (depth["waiting"], depth["sent"], depth["refused"]) == (0, 4, {"not-a-picture": 2})


def test_the_program_spools_without_kafka_and_sends_when_it_is_back(kafka_bootstrap, topic, tmp_path):
    folder, options = _camera(tmp_path, "127.0.0.1:1", topic)
    (folder / "Lindqvist.txt.jpg").unlink()
    assert _run("send", str(folder), "--no-wait", *options).returncode == 0
    assert _run("status", "--older-than-s", "0", "--spool", str(tmp_path / "spool.db")).returncode == 1
    drained = _run(
        "send", "--kafka", kafka_bootstrap, "--topic", topic, "--spool", str(tmp_path / "spool.db"), "--timeout-s", "60"
    )
    assert drained.returncode == 0, drained.stderr
    assert len(read_topic(kafka_bootstrap, topic)) == 4


def test_the_program_watches_a_folder_until_it_is_told_to_end(kafka_bootstrap, topic, tmp_path):
    folder, options = _camera(tmp_path, kafka_bootstrap, topic)
    command = [*PROGRAM, "watch", str(folder), "--settle-s", "0.2", "--patience-s", "0.5", "--rescan-s", "1", *options]
    with (tmp_path / "log").open("w") as log:
        watching = subprocess.Popen(command, stderr=log)
        try:
            _until(lambda: len(list(folder.glob("sent/*"))) == 4 and len(list(folder.glob("refused/*"))) == 2)
            _until(lambda: _depth(tmp_path) == (0, 4))
        finally:
            watching.send_signal(signal.SIGTERM)
            assert watching.wait(30) == 0
    assert len(read_topic(kafka_bootstrap, topic)) == 4
    logged = (tmp_path / "log").read_text()
    assert "Lindqvist" not in logged
    assert {json.loads(line).get("action") for line in logged.splitlines()} >= {"sent", "refused"}


def _depth(tmp_path: Path) -> tuple[int, int]:
    with Spool(tmp_path / "spool.db", min_free_bytes=0) as spool:
        depth = spool.depth()
    return depth.waiting, depth.sent


def _camera(tmp_path: Path, bootstrap: str, topic: str) -> tuple[Path, list[str]]:
    """Four eyes and a file that is none, and the options to send them."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for number, name in enumerate(("E1_R", "E1_L", "E2_OD", "E2_OS")):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(noise).save(out, "JPEG", comment=b"Lindqvist")
        (folder / f"{name}_macula.jpg").write_bytes(out.getvalue())
    (folder / "Lindqvist.txt.jpg").write_bytes(b"no picture at all")
    assert _run("keygen", "--key", str(tmp_path / "site.key")).returncode == 0
    options = ["--site", "north", "--device", "cam-1", "--programme", "demo", "--kafka", bootstrap, "--topic", topic]
    return folder, [*options, "--key", str(tmp_path / "site.key"), "--spool", str(tmp_path / "spool.db")]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=90, check=False)


def _create(bootstrap: str, topic: str, **configs: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(topic, 4, 1, topic_configs=configs)])
    finally:
        admin.close()


def _until(condition, *, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
