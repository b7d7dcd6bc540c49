from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from confluent_kafka import KafkaError, KafkaException

from eyestream.brokers.deadletters import UNREADABLE
from eyestream.brokers.translation import as_message, security_options, stand_in, translated_librdkafka
from eyestream.errors import Misconfigured, Rejected, Unavailable
from eyestream.records import Position


@dataclass
class Record:
    """What confluent-kafka hands out, as far as we look at it."""

    milliseconds: int = 1_500
    failure: KafkaError | None = None
    names: list[tuple[str, bytes | None]] | None = field(default_factory=lambda: [("content-type", b"image/jpeg")])

    def topic(self) -> str:
        return "pictures"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 17

    def key(self) -> bytes:
        return b"exam-1"

    def value(self) -> bytes:
        return b"picture"

    def timestamp(self) -> tuple[int, int]:
        return 1, self.milliseconds

    def error(self) -> KafkaError | None:
        return self.failure

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.names


class RecordWithUnreadableNames(Record):
    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return [(b"\xff".decode(), b"")]


def test_a_record_is_a_message() -> None:
    message = as_message(Record(), epoch=2, fetched=9.0)
    assert message.position == Position("pictures", 3, 17, 2)
    assert (message.value, message.key, message.produced, message.fetched) == (b"picture", b"exam-1", 1.5, 9.0)
    assert message.headers == {"content-type": b"image/jpeg"}


def test_a_record_sent_in_no_year_of_any_calendar_was_sent_when_it_was_fetched() -> None:
    in_microseconds = 1_700_000_000_000_000
    message = as_message(Record(milliseconds=in_microseconds), epoch=1, fetched=9.0)
    assert message.produced == 9.0


def test_a_record_without_time_or_headers_has_the_time_it_was_fetched() -> None:
    message = as_message(Record(milliseconds=-1, names=None), epoch=1, fetched=9.0)
    assert message.produced == 9.0
    assert message.headers == {}


class RecordWhoseListOfHeadersIsBroken(Record):
    def headers(self) -> list[tuple[str, bytes | None]] | None:
        raise SystemError("returned a result with an exception set")


@pytest.mark.parametrize("record", [RecordWithUnreadableNames(), RecordWhoseListOfHeadersIsBroken()])
def test_a_record_whose_header_names_cannot_be_read_keeps_its_picture(record: Record) -> None:
    message = as_message(record, epoch=1, fetched=9.0)
    assert (message.value, message.key, message.produced) == (b"picture", b"exam-1", 1.5)
    assert message.position == Position("pictures", 3, 17, 1)
    assert list(message.headers) == [UNREADABLE]


def test_a_record_without_a_value_is_an_empty_picture() -> None:
    for record in (Record(), RecordWithUnreadableNames()):
        record.value = lambda: None  # type: ignore[assignment,return-value]
        assert as_message(record, epoch=1, fetched=9.0).value == b""


def test_a_broken_record_stands_for_itself_without_a_picture() -> None:
    error = KafkaError(KafkaError._BAD_MSG)  # noqa: SLF001  librdkafka's own codes begin with an underscore
    message = stand_in(Record(failure=error), "CRC mismatch", epoch=1, fetched=9.0)
    assert (message.value, message.key) == (b"", None)
    assert message.position.offset == 17
    assert message.headers == {UNREADABLE: b"CRC mismatch"}


def test_security_has_librdkafkas_names() -> None:
    given = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "user",
        "sasl_plain_password": "secret",
        "sasl_kerberos_service_name": "kafka",
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "cert.pem",
        "ssl_keyfile": "key.pem",
        "ssl_password": "of the key",
        "ssl_ciphers": "HIGH",
        "ssl_crlfile": "crl.pem",
        "ssl_check_hostname": False,
    }
    assert security_options(given) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "user",
        "sasl.password": "secret",
        "sasl.kerberos.service.name": "kafka",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "cert.pem",
        "ssl.key.location": "key.pem",
        "ssl.key.password": "of the key",
        "ssl.cipher.suites": "HIGH",
        "ssl.crl.location": "crl.pem",
        "ssl.endpoint.identification.algorithm": "none",
    }
    assert security_options({"ssl_check_hostname": True}) == {"ssl.endpoint.identification.algorithm": "https"}
    assert security_options({}) == {}


def test_an_option_without_a_counterpart_is_named() -> None:
    with pytest.raises(Misconfigured, match="ssl_context"):
        security_options({"ssl_context": object()})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Misconfigured),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Misconfigured),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, Misconfigured),
        (KafkaError.SASL_AUTHENTICATION_FAILED, Misconfigured),
        (KafkaError._AUTHENTICATION, Misconfigured),  # noqa: SLF001
        (KafkaError._INVALID_ARG, Misconfigured),  # noqa: SLF001
        (KafkaError.FENCED_INSTANCE_ID, Misconfigured),
        (KafkaError.GROUP_MAX_SIZE_REACHED, Misconfigured),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, Misconfigured),
        (KafkaError.INVALID_SESSION_TIMEOUT, Misconfigured),
        (KafkaError.TOPIC_EXCEPTION, Misconfigured),
        (KafkaError.UNSUPPORTED_COMPRESSION_TYPE, Misconfigured),
        (KafkaError._UNSUPPORTED_FEATURE, Misconfigured),  # noqa: SLF001
        (KafkaError._TRANSPORT, Unavailable),  # noqa: SLF001
        (KafkaError.REQUEST_TIMED_OUT, Unavailable),
    ],
)
def test_an_error_is_told_by_whose_fault_it_is(code: int, kind: type[Exception]) -> None:
    assert type(translated_librdkafka(KafkaException(KafkaError(code)))) is kind


@pytest.mark.parametrize("error", [KeyError("ours"), Rejected("truncated", "Send it again.")])
def test_other_errors_come_back_as_they_are(error: Exception) -> None:
    assert translated_librdkafka(error) is error
