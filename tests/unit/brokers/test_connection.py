from __future__ import annotations

import dataclasses
import socket

import pytest
from confluent_kafka import Consumer
from kafka import errors

from eyestream.brokers.connection import KafkaOptions, missing_topic, require_answer, translated
from eyestream.errors import Misconfigured, Rejected, Unavailable

OPTIONS = KafkaOptions(bootstrap="one:9092, two:9092", topic="pictures", security={"security_protocol": "SSL"})


def test_dead_letters_lie_beside_the_pictures_unless_named() -> None:
    assert OPTIONS.dead_letter_topic == "pictures.dlq"
    assert dataclasses.replace(OPTIONS, dead_letters="broken").dead_letter_topic == "broken"


def test_security_and_servers_reach_every_client() -> None:
    for config in (OPTIONS.producer_config(), OPTIONS.consumer_config(), OPTIONS.admin_config()):
        assert config["security_protocol"] == "SSL"
        assert config["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert OPTIONS.member_config()["security.protocol"] == "SSL"
    assert OPTIONS.member_config()["bootstrap.servers"] == "one:9092, two:9092"


def test_offsets_are_committed_by_nobody_but_us_and_never_reset_in_silence() -> None:
    config = OPTIONS.member_config()
    assert config["enable.auto.commit"] is False
    assert config["auto.offset.reset"] == "error"


def test_librdkafka_takes_every_option_of_a_member() -> None:
    plain = dataclasses.replace(OPTIONS, security={})
    Consumer(plain.member_config()).close()


def test_a_dead_letter_of_the_largest_picture_fits_the_producer() -> None:
    assert OPTIONS.producer_config()["max_request_size"] > OPTIONS.max_message_bytes
    assert OPTIONS.max_dead_letter_bytes == OPTIONS.producer_config()["max_request_size"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.TopicAuthorizationFailedError("pictures"), Misconfigured),
        (errors.SaslAuthenticationFailedError("no"), Misconfigured),
        (errors.UnsupportedCodecError("zstd"), Misconfigured),
        (errors.KafkaTimeoutError("late"), Unavailable),
        (errors.KafkaConnectionError("gone"), Unavailable),
        (ConnectionRefusedError(), Unavailable),
        (errors.IllegalStateError("ours"), errors.IllegalStateError),
        (KeyError("ours"), KeyError),
        (Rejected("truncated", "Send it again."), Rejected),
    ],
)
def test_an_error_of_kafka_is_told_by_whose_fault_it_is(error: Exception, kind: type[Exception]) -> None:
    assert type(translated(error)) is kind


def test_a_missing_topic_says_how_to_make_it() -> None:
    assert "--create --topic pictures" in str(missing_topic("pictures"))


def test_a_server_that_listens_is_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        require_answer(KafkaOptions(bootstrap=f"127.0.0.1:{port}"), within_s=1)


def test_nobody_listening_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unavailable, match="none of"):
        require_answer(KafkaOptions(bootstrap=f"127.0.0.1:{port}"), within_s=0)


@pytest.mark.parametrize("server", ["kafka:", ":9092x", "http://kafka"])
def test_an_address_that_is_none_is_the_operators_fault(server: str) -> None:
    with pytest.raises(Misconfigured, match="host:port"):
        require_answer(KafkaOptions(bootstrap=server), within_s=0)
