"""Settings → how to reach Kafka. Light: the command-line tools need no more than this to look at a topic."""

from __future__ import annotations

from eyestream.brokers.connection import KafkaOptions, require_answer, translated
from eyestream.errors import Misconfigured
from eyestream.settings import Kafka


def kafka_options(kafka: Kafka) -> KafkaOptions:
    """How to reach and read the topic these settings name. As `security`, of which it has the options."""
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
    """kafka-python's TLS and SASL options, the secret ones read from their mounted files; Misconfigured without one."""
    secrets = {}
    for name, file in kafka.security_files.items():
        try:
            secrets[name] = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"kafka.security_files.{name}: {file} cannot be read: {type(error).__name__}") from None
    return kafka.security | secrets


def partitions(options: KafkaOptions, *topics: str) -> dict[str, int]:
    """How many partitions each of the topics has, 0 for one that is not there or that this user may not see. Blocks.

    Raises Unavailable or Misconfigured where Kafka does not tell.
    """
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    require_answer(options)
    try:
        consumer = KafkaConsumer(**options.consumer_config())
        try:
            return {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in topics}
        finally:
            consumer.close()
    except (KafkaError, OSError) as error:
        raise translated(error) from error
