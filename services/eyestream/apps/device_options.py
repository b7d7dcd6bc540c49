"""The options that the commands of `eyestream device` share, and what is made of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from eyestream.apps import stores
from eyestream.device.intake import Origin
from eyestream.device.labels import NamePattern
from eyestream.device.pseudonym import SiteKey, read_key
from eyestream.device.transport import KafkaTarget
from eyestream.errors import Misconfigured
from eyestream.records import Modality as ModalityWord
from eyestream.records import Slug

MAX_MESSAGE_BYTES: Final = 16 * 2**20
MAX_REFERENCED_BYTES: Final = 256 * 2**20
_MESSAGE_ROOM: Final = 16 * 2**10
"""What a record's key and headers may add to its picture."""

Site = Annotated[str | None, typer.Option(help="This site's name: lower-case letters, digits, dashes.")]
Device = Annotated[str | None, typer.Option(help="This camera's name, likewise.")]
ProgrammeName = Annotated[str | None, typer.Option(help="The screening programme the pictures belong to.")]
ModalityName = Annotated[ModalityWord, typer.Option(help="What the camera makes, where a file does not say.")]
Pattern = Annotated[
    str | None,
    typer.Option(help="How files are named: text with {exam}, {subject}, {laterality}, {field}, {any}; no extension."),
]
PlainExams = Annotated[
    bool,
    typer.Option("--plain-exams", help="Exam numbers of sidecars and names travel as they are: they name nobody."),
]
Kafka = Annotated[str, typer.Option(help="host:port of one or more brokers, separated by commas.")]
Topic = Annotated[str, typer.Option(help="The topic of the pictures.")]
MaxMessageBytes = Annotated[int, typer.Option(min=65_536, help="The topic's limit for a message (max.message.bytes).")]
Store = Annotated[
    str | None, typer.Option(help="Folder or URL (s3://…) of the object store for pictures above that limit.")
]
KafkaOption = Annotated[
    list[str] | None, typer.Option(help="A TLS or SASL option of kafka-python: security_protocol=SASL_SSL.")
]
KafkaSecret = Annotated[
    list[str] | None, typer.Option(help="The same, read from a file: sasl_plain_password=/run/secrets/kafka.")
]
Key = Annotated[Path | None, typer.Option(help="This site's key; ~/.eyestream/site.key when not given.")]
SpoolFile = Annotated[Path | None, typer.Option(help="The spool's file; ~/.eyestream/spool.db when not given.")]
SpoolGib = Annotated[float, typer.Option(min=0.001, help="How much may wait in the spool, in GiB.")]


def key_path(key: Path | None) -> Path:
    """Where the site's key lies."""
    return key or Path.home() / ".eyestream" / "site.key"


def spool_path(spool: Path | None) -> Path:
    """Where the spool lies."""
    return spool or Path.home() / ".eyestream" / "spool.db"


def read_site_key(key: Path | None) -> SiteKey:
    """The site's key."""
    return read_key(key_path(key))


def origin(site: str | None, device: str | None, programme: str | None, modality: ModalityWord) -> Origin:
    """What all pictures share. Raises Misconfigured when one is missing or cannot travel."""
    for name, value in (("--site", site), ("--device", device), ("--programme", programme)):
        if value is None:
            raise Misconfigured(
                f"{name} is needed: every result says where its picture came from and under which rules"
            )
        try:
            TypeAdapter(Slug).validate_python(value)
        except ValidationError:
            raise Misconfigured(f"{name} has lower-case letters, digits and dashes, 64 at most") from None
    assert site is not None
    assert device is not None
    assert programme is not None
    return Origin(site_id=site, device_id=device, programme=programme, modality=modality)


def read_subject(subject: str | None) -> str | None:
    """The patient's number; from stdin for '-', since other users of the machine see a command's options."""
    return sys.stdin.readline().strip() if subject == "-" else subject


def name_pattern(pattern: str | None) -> NamePattern | None:
    """The pattern, if there is one."""
    return None if pattern is None else NamePattern(pattern)


def object_store(store: str | None) -> str | None:
    """The store, if there is one. Raises Misconfigured when no picture could be put there."""
    if store is not None:
        stores.require([store], named="--store")
    return store


def largest_picture(max_message_bytes: int, store: str | None) -> int:
    """Bytes of the largest picture that can be sent at all."""
    return max_message_bytes - _MESSAGE_ROOM if store is None else MAX_REFERENCED_BYTES


def target(
    kafka: str,
    topic: str,
    max_message_bytes: int,
    plain: list[str] | None,
    secret: list[str] | None,
) -> KafkaTarget:
    """Where pictures go, with options named and options read from files."""
    security: dict[str, Any] = {name: _typed(value) for name, value in map(_pair, plain or [])}
    for name, path in map(_pair, secret or []):
        try:
            security[name] = Path(path).read_text("utf-8").strip()
        except OSError as error:
            raise Misconfigured(f"--kafka-secret {name}: {type(error).__name__}") from None
    return KafkaTarget(bootstrap=kafka, topic=topic, max_message_bytes=max_message_bytes, security=security)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Misconfigured("Kafka's options have the form name=value")
    return name, value


def _typed(value: str) -> str | int | bool:
    """The option as kafka-python wants it: `ssl_check_hostname=false` must not be a true word."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdecimal() else value
