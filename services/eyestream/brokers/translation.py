"""librdkafka's records, errors and options as ours, one at a time."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

from eyestream.brokers.deadletters import UNREADABLE, as_mapping
from eyestream.errors import EyestreamError, Misconfigured, Unavailable
from eyestream.records import LATEST_CAPTURE, Message, Position

_OPTIONS: Final = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "sasl_kerberos_service_name": "sasl.kerberos.service.name",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
    "ssl_ciphers": "ssl.cipher.suites",
    "ssl_crlfile": "ssl.crl.location",
}

_headers = operator.methodcaller("headers")
"""confluent-kafka 2.16 goes on after a header name that is not UTF-8 and returns a list with a null pointer in it.

Called from C, as here, that is found and raised as SystemError. A plain `record.headers()` is not checked once the
interpreter has specialised the call, and reading the list then ends the process.
"""


def as_message(record: Any, *, epoch: int, fetched: float) -> Message:
    """A record as a message; one whose header names are not UTF-8 keeps its bytes and says so in its only header."""
    try:
        headers = as_mapping(_headers(record))
    except (UnicodeDecodeError, SystemError):
        return stand_in(record, "a header's name is not UTF-8", epoch=epoch, fetched=fetched)
    return Message(
        value=record.value() or b"",
        headers=headers,
        position=Position(record.topic(), record.partition(), record.offset(), epoch),
        produced=_produced(record, fetched),
        fetched=fetched,
        key=record.key(),
    )


def stand_in(record: Any, why: str, *, epoch: int, fetched: float) -> Message:
    """A message in the place of a record that cannot be read; on its way through the line it becomes a dead letter."""
    broken = record.error() is not None  # librdkafka then puts its explanation where the value was
    return Message(
        value=b"" if broken else record.value() or b"",
        headers={UNREADABLE: why[:300].encode()},
        position=Position(record.topic(), record.partition(), record.offset(), epoch),
        produced=_produced(record, fetched),
        fetched=fetched,
        key=None if broken else record.key(),
    )


def security_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """TLS and SASL options under librdkafka's names. Raises Misconfigured for one that it has no counterpart for."""
    known = {name: value for name, value in options.items() if name != "ssl_check_hostname"}
    if strange := sorted(known.keys() - _OPTIONS.keys()):
        raise Misconfigured(f"kafka.security has options eyestream cannot use: {', '.join(strange)}")
    named = {_OPTIONS[name]: value for name, value in known.items()}
    if "ssl_check_hostname" in options:
        named["ssl.endpoint.identification.algorithm"] = "https" if options["ssl_check_hostname"] else "none"
    return named


def translated_librdkafka(error: BaseException) -> BaseException:
    """What an error of librdkafka means for the line; one that is nobody's fault but ours comes back as it is."""
    from confluent_kafka import KafkaError, KafkaException

    operator = {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001  librdkafka's own codes begin with an underscore
        KafkaError._INVALID_ARG,  # noqa: SLF001
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.GROUP_MAX_SIZE_REACHED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    }
    if isinstance(error, EyestreamError) or not isinstance(error, KafkaException):
        return error
    cause = error.args[0]
    text = f"{cause.name()}: {cause.str()[:300]}"
    return Misconfigured(f"Kafka says {text}") if cause.code() in operator else Unavailable("kafka", text)


def _produced(record: Any, fetched: float) -> float:
    """When the record was sent, by whoever sent it: a time that no calendar has could be stored and never be shown."""
    _, milliseconds = record.timestamp()
    produced: float = milliseconds / 1000
    return produced if 0 <= produced < LATEST_CAPTURE.timestamp() else fetched
