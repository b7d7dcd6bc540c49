"""Dead letters on Apache Kafka: written, listed, put back, and put back only once."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import uuid
from contextlib import aclosing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from typer.testing import CliRunner

from eyestream.apps.redrive import commands
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.deadletters import REDRIVE_COUNT, REDRIVEN_FROM, address
from eyestream.brokers.kafka import KafkaBroker
from eyestream.brokers.lookup import Lookup
from eyestream.brokers.redrive import DeadLetterIndex, read_dead_letters, replay
from eyestream.brokers.topics import create_topics
from eyestream.errors import Misconfigured, Rejected, Unavailable
from eyestream.records import ImageMeta, Message, Position
from eyestream.testing.redis_server import free_ports

pytestmark = pytest.mark.stack

SUBJECT = "SUBJECT-PSEUDONYM-0001"
REASONS = ("truncated", "too-many-pixels")


def meta(number: int) -> ImageMeta:
    return ImageMeta(
        image_id=f"image-{number}",
        exam_id=f"exam-{number}",
        subject_id=SUBJECT,
        site_id=f"site-{number % 2}",
        device_id="camera-1",
        captured_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        programme="diabetic",
        sha256="0" * 64,
    )


class Line:
    """A topic with pictures, and a line that refuses each of them."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.options = KafkaOptions(bootstrap=bootstrap, topic=name, group=name)
        create_topics(self.options, partitions=2)

    def send(self, values: list[bytes]) -> None:
        with KafkaProducer(bootstrap_servers=self.options.bootstrap, max_request_size=8 * 2**20) as producer:
            for number, value in enumerate(values):
                headers = [("eyestream-meta", meta(number).to_header()), ("content-type", b"image/jpeg")]
                producer.send(self.options.topic, key=b"exam-%d" % number, value=value, headers=headers).get(20)

    async def refuse(self, count: int) -> list[Message]:
        """Put so many messages among the dead letters and acknowledge them."""
        broker = KafkaBroker(self.options)
        refused: list[Message] = []
        async with asyncio.timeout(30), aclosing(broker.messages()) as messages:
            while len(refused) < count:
                message = await anext(messages)
                reason = REASONS[len(refused) % 2]
                await broker.dead_letter(message, Rejected(reason, f"Mended by doing {reason}."), attempts=1)
                await broker.acknowledge(message.position)
                refused.append(message)
        await broker.close()
        return refused


@pytest.fixture
def line(kafka_bootstrap: str) -> Line:
    return Line(kafka_bootstrap, f"redrive-{uuid.uuid4().hex[:12]}")


async def test_a_redriven_message_is_the_original_with_its_history(line: Line) -> None:
    line.send([bytes(range(256)), b"second"])
    originals = {message.value: message for message in await line.refuse(2)}
    letters = read_dead_letters(line.options)
    assert [letter.reason for letter in letters] == list(REASONS)
    done = list(replay(line.options, letters))
    assert [one.fate for one in done] == ["put back", "put back"]
    for message in await line.refuse(2):
        original = originals[message.value]
        assert message.key == original.key
        assert message.position.partition == original.position.partition
        added = {REDRIVE_COUNT, REDRIVEN_FROM}
        assert {name: value for name, value in message.headers.items() if name not in added} == original.headers
        assert message.headers[REDRIVE_COUNT] == b"1"
        assert message.headers[REDRIVEN_FROM].decode() in {address(letter.position) for letter in letters}


async def test_a_dead_letter_is_put_back_once_unless_asked_again(line: Line) -> None:
    line.send([b"picture"])
    await line.refuse(1)
    assert [one.fate for one in replay(line.options, read_dead_letters(line.options))] == ["put back"]
    (letter,) = read_dead_letters(line.options)
    assert letter.redriven
    assert [one.fate for one in replay(line.options, [letter])] == ["put back before"]
    assert [one.fate for one in replay(line.options, [letter], again=True)] == ["put back"]
    assert len(await line.refuse(2)) == 2


async def test_a_dry_run_writes_nothing(line: Line) -> None:
    line.send([b"picture"])
    await line.refuse(1)
    before = read_dead_letters(line.options)
    assert [one.fate for one in replay(line.options, before, dry_run=True)] == ["would be put back"]
    assert read_dead_letters(line.options) == before


async def test_a_message_is_not_put_back_for_ever(line: Line) -> None:
    line.send([b"hopeless"])
    for round_ in range(3):
        await line.refuse(1)
        newest = read_dead_letters(line.options)[-1]
        assert newest.redrives == round_
        fate = "put back" if round_ < 2 else "put back too often"
        assert [one.fate for one in replay(line.options, [newest], max_redrives=2)] == [fate]


async def test_a_picture_too_large_for_the_dead_letters_is_found_where_it_was_read(kafka_bootstrap: str) -> None:
    name = f"redrive-{uuid.uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.create_topics([NewTopic(f"{name}.dlq", 1, 1, topic_configs={"max.message.bytes": "100000"})])
    admin.close()
    line = Line(kafka_bootstrap, name)
    picture = bytes(2 * 2**20)
    line.send([picture, b"small"])
    await line.refuse(2)
    letters = {letter.nbytes: letter for letter in read_dead_letters(line.options)}
    assert set(letters) == {len(picture), len(b"small")}
    assert not letters[len(picture)].carried
    assert [one.fate for one in replay(line.options, list(letters.values()))] == ["put back", "put back"]
    assert {message.value for message in await line.refuse(2)} == {picture, b"small"}


async def test_dead_letters_of_a_topic_that_is_not_there_are_an_operators_fault(kafka_bootstrap: str) -> None:
    with pytest.raises(Misconfigured, match="no topic"):
        read_dead_letters(KafkaOptions(bootstrap=kafka_bootstrap, topic="never-made"))


async def test_the_command_line_lists_counts_shows_and_replays(line: Line, tmp_path: Path) -> None:
    line.send([b"picture"] * 4)
    await line.refuse(4)
    file = tmp_path / "settings.toml"
    file.write_text(f'[kafka]\nbootstrap = "{line.options.bootstrap}"\ntopic = "{line.options.topic}"\n')

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(commands, [*arguments, "-s", str(file)], env={"COLUMNS": "250"})
        assert result.exit_code == 0, result.output
        assert SUBJECT not in result.output
        return result.output

    listed = await asyncio.to_thread(run, "list", "--reason", "truncated")
    assert "too-many-pixels" not in listed
    assert "Mended by doing truncated." in listed
    letters = read_dead_letters(line.options)
    shown = await asyncio.to_thread(run, "show", address(letters[0].position))
    assert "image-" in shown
    dry = await asyncio.to_thread(run, "replay", "--site", "site-0", "--dry-run")
    assert "2 would be put back" in dry
    done = await asyncio.to_thread(run, "replay", "--reason", "truncated")
    assert "2 put back" in done
    again = await asyncio.to_thread(run, "replay", "--all")
    assert "2 put back before" in again
    waiting = await asyncio.to_thread(run, "list", "--waiting")
    assert waiting == "No dead letters.\n"


async def test_replaying_everything_needs_to_be_said(line: Line, tmp_path: Path) -> None:
    result = CliRunner().invoke(commands, ["replay"])
    assert result.exit_code == 2
    assert "--all" in result.output


async def test_an_index_reads_what_is_new_and_forgets_what_retention_took(line: Line) -> None:
    index = DeadLetterIndex(line.options)
    assert index.look() == []
    line.send([b"one", b"two"])
    await line.refuse(2)
    first = index.look()
    assert first == read_dead_letters(line.options)
    list(replay(line.options, first[:1]))
    await line.refuse(1)
    second = index.look()
    assert second == read_dead_letters(line.options)
    assert [letter.redriven for letter in second] == [True, False, False]
    gone = first[0].position
    admin = KafkaAdminClient(bootstrap_servers=line.options.bootstrap)
    admin.delete_records({TopicPartition(gone.topic, gone.partition): gone.offset + 1})
    admin.close()
    assert gone not in {letter.position for letter in index.look()}
    assert index.look() == read_dead_letters(line.options)


async def test_a_record_is_looked_up_by_its_position_until_it_is_gone(line: Line) -> None:
    line.send([bytes(3 * 2**20), b"second", b"third"])
    messages = await line.refuse(3)
    lookup = Lookup(line.options)
    for message in (*messages, *reversed(messages)):
        found = lookup.message(message.position)
        assert found is not None
        assert (found.value, found.key, found.headers) == (message.value, message.key, message.headers)
    at = messages[0].position
    assert lookup.message(dataclasses.replace(at, offset=at.offset + 1000)) is None
    assert lookup.message(dataclasses.replace(at, partition=99)) is None
    assert lookup.message(dataclasses.replace(at, topic="no-such-topic")) is None
    admin = KafkaAdminClient(bootstrap_servers=line.options.bootstrap)
    admin.delete_records({TopicPartition(at.topic, at.partition): at.offset + 1})
    admin.close()
    assert lookup.message(at) is None
    lookup.close()
    lookup.close()


async def test_a_lookup_where_nothing_listens_is_unavailable() -> None:
    [port] = free_ports(1)
    lookup = Lookup(KafkaOptions(bootstrap=f"127.0.0.1:{port}"), timeout_s=0.1)
    with pytest.raises(Unavailable, match="none of"):
        lookup.message(Position("screening.images", 0, 0))
