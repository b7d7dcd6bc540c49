"""Make the two topics a line needs, with limits that fit each other."""

from __future__ import annotations

from eyestream.brokers.connection import KafkaOptions, require_answer, translated

_DAY_MS = 24 * 3600 * 1000


def create_topics(
    options: KafkaOptions,
    *,
    partitions: int,
    replication: int = 1,
    retention_days: float = 7,
    dead_letter_retention_days: float = 90,
) -> None:
    """Create the topic of pictures and that of dead letters where they do not exist; existing ones stay as they are.

    The dead letters' topic takes records a little larger than the pictures', because a dead letter carries more
    headers. Raises Unavailable or Misconfigured. Blocks.
    """
    from kafka import KafkaAdminClient
    from kafka.admin import NewTopic
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    wanted = (
        (options.topic, partitions, options.max_message_bytes, retention_days),
        (options.dead_letter_topic, min(partitions, 4), options.max_dead_letter_bytes, dead_letter_retention_days),
    )
    require_answer(options)
    try:
        admin = KafkaAdminClient(**options.admin_config())
        try:
            for name, count, max_bytes, days in wanted:
                limits = {"max.message.bytes": str(max_bytes), "retention.ms": str(round(days * _DAY_MS))}
                try:
                    admin.create_topics([NewTopic(name, count, replication, topic_configs=limits)])
                except TopicAlreadyExistsError:
                    continue
        finally:
            admin.close()
    except KafkaError as error:
        raise translated(error) from error
