"""Eyes as a camera's files, on a topic. A few are rendered; each file differs from all others in a comment."""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from confluent_kafka import Producer
from PIL import Image

from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, Laterality, RetinalField
from eyestream.testing.eyes import Eye, render
from eyestream.testing.messages import meta_for

PARTITIONS: Final = 6
"""A multiple of the careful client's threads, so that none of them runs dry before the others."""
DISTINCT: Final = 8
_SIDES: Final[tuple[tuple[Laterality, RetinalField], ...]] = (
    ("R", "macula"),
    ("R", "disc"),
    ("L", "macula"),
    ("L", "disc"),
)


def files(size: tuple[int, int]) -> list[bytes]:
    """Distinct eyes of (height, width) as baseline JPEG of quality 92, seeded."""
    drawn = []
    for number, (side, field) in zip(range(DISTINCT), itertools.cycle(_SIDES)):
        findings = frozenset({"haemorrhages", "drusen"} if number % 3 else ())
        out = io.BytesIO()
        Image.fromarray(render(Eye(side, field, findings), number, size)).save(out, "JPEG", quality=92)
        drawn.append(out.getvalue())
    return drawn


def varied(file: bytes, number: int) -> bytes:
    """The same picture in another file: a comment behind the first segment."""
    (length,) = struct.unpack_from(">H", file, 4)
    comment = b"%016d" % number
    return file[: 4 + length] + b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment + file[4 + length :]


def messages(drawn: Sequence[bytes], count: int) -> Iterator[tuple[int, bytes, list[tuple[str, bytes]]]]:
    """(partition, value, headers); four pictures make an exam, which stays in its partition."""
    for number in range(count):
        value = varied(drawn[number % len(drawn)], number)
        side, field = _SIDES[number % 4]
        meta = meta_for(value, exam_id=f"exam-{number // 4}", laterality=side, field=field)
        headers = [(HEADER_META, meta.to_header()), (HEADER_CONTENT_TYPE, b"image/jpeg")]
        yield number // 4 % PARTITIONS, value, headers


def send(bootstrap: str, topic: str, drawn: Sequence[bytes], count: int) -> int:
    """Put `count` pictures on the topic; returns their bytes."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "message.max.bytes": 16 * 2**20, "enable.idempotence": True, "linger.ms": 20}
    )
    nbytes = 0
    for partition, value, headers in messages(drawn, count):
        nbytes += len(value)
        while True:
            try:
                producer.produce(topic, value, partition=partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    return nbytes
