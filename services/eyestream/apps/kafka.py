"""Settings → how to reach Kafka. Light: the command-line tools need no more than this to look at a topic."""

from __future__ import annotations

from eyestream.brokers.connection import KafkaOptions
from eyestream.settings import Kafka


def kafka_options(kafka: Kafka) -> KafkaOptions:
    """How to reach and read the topic these settings name. Reads the mounted secret files."""
    return KafkaOptions(
        bootstrap=kafka.bootstrap,
        topic=kafka.topic,
        group=kafka.group,
        session_timeout_s=kafka.session_timeout_ms / 1000,
        heartbeat_s=kafka.session_timeout_ms / 3000,
        max_message_bytes=kafka.max_message_bytes,
        max_prefetch_bytes=kafka.max_prefetch_bytes,
        security=security(kafka),
    )


def security(kafka: Kafka) -> dict[str, str | int | bool]:
    """kafka-python's TLS and SASL options, the secret ones read from their mounted files."""
    return kafka.security | {name: file.read_text().strip() for name, file in kafka.security_files.items()}
