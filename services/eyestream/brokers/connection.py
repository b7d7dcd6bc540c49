"""How to reach Kafka: addresses, names, sizes, and what its errors mean for the line. Nothing here reads or sends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eyestream import kafka_handshake, kafka_security
from eyestream.brokers.translation import security_options
from eyestream.errors import EyestreamError, Misconfigured, Unavailable

_ASK_AGAIN_S = 0.2
_HEADROOM = 64 * 1024
"""What a dead letter's own headers may add to a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """One topic of pictures, its dead letters, and how one member of a group reads them.

    `max_message_bytes` is the largest record the topic accepts. `max_prefetch_bytes` bounds what waits for the line;
    up to `fetch_max_bytes` more may be under way. Both fetch sizes must hold several pictures: Kafka's own default of
    1 MiB makes 2 MiB pictures come one at a time. `session_timeout_s` is how long a dead member keeps its partitions,
    `revoke_grace_s` how long a rebalance waits for pictures in flight, so that they need not be screened twice.
    With `skip_deleted`, pictures that Kafka deleted before they were read are logged and passed over; without it the
    process refuses to go on. `security` holds kafka-python's options for TLS and SASL; Misconfigured for such as would
    not do what they say.
    """

    bootstrap: str
    topic: str = "screening.images"
    dead_letters: str = ""
    group: str = "eyestream"
    max_message_bytes: int = 32 * 2**20
    max_prefetch_bytes: int = 64 * 2**20
    max_prefetch_messages: int = 256
    max_partition_fetch_bytes: int = 16 * 2**20
    fetch_max_bytes: int = 32 * 2**20
    session_timeout_s: float = 6.0
    heartbeat_s: float = 2.0
    commit_interval_s: float = 0.1
    revoke_grace_s: float = 0.9
    start_timeout_s: float = 30.0
    close_timeout_s: float = 5.0
    skip_deleted: bool = False
    security: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kafka_security.check(self.security)

    @property
    def dead_letter_topic(self) -> str:
        """The topic of the dead letters; the pictures' own with `.dlq` unless named."""
        return self.dead_letters or f"{self.topic}.dlq"

    @property
    def max_dead_letter_bytes(self) -> int:
        """The largest dead letter: the largest picture with a dead letter's headers."""
        return self.max_message_bytes + _HEADROOM

    def client_config(self) -> dict[str, Any]:
        """What every client of this cluster shares."""
        return {
            "bootstrap_servers": [server.strip() for server in self.bootstrap.split(",")],
            "bootstrap_timeout_ms": _ms(self.start_timeout_s),
            "reconnect_backoff_max_ms": 1000,
            **self.security,
        }

    def admin_config(self) -> dict[str, Any]:
        """A client that creates and describes topics."""
        return self.client_config()

    def consumer_config(self) -> dict[str, Any]:
        """A consumer outside any group, for looking things up."""
        return {
            **self.client_config(),
            "allow_auto_create_topics": False,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "max_partition_fetch_bytes": self.max_partition_fetch_bytes,
            "fetch_max_bytes": self.fetch_max_bytes,
            "receive_message_max_bytes": self.fetch_max_bytes + self.max_message_bytes + 2**20,
        }

    def member_config(self) -> dict[str, Any]:
        """A member of the group, for librdkafka.

        Half of the prefetch lies in its queue, the other half in the inbox. The cooperative assignor moves only the
        partitions that have to move when members come and go.
        """
        return {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "session.timeout.ms": _ms(self.session_timeout_s),
            "heartbeat.interval.ms": _ms(self.heartbeat_s),
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "check.crcs": True,
            "max.partition.fetch.bytes": self.max_partition_fetch_bytes,
            "fetch.max.bytes": self.fetch_max_bytes,
            "receive.message.max.bytes": self.fetch_max_bytes + self.max_message_bytes + 2**20,
            "queued.max.messages.kbytes": max(1, self.max_prefetch_bytes // 2048),
            "queued.min.messages": self.max_prefetch_messages,
            "fetch.queue.backoff.ms": 20,  # a second by default, in which a full queue has long run dry
            "reconnect.backoff.max.ms": 1000,
            "statistics.interval.ms": 1000,
            "log_level": 4,
            **security_options(self.security),
        }

    def producer_config(self) -> dict[str, Any]:
        """A producer that neither loses nor doubles what it sends, with room for the largest picture's dead letter."""
        return {
            **self.client_config(),
            "allow_auto_create_topics": False,
            "acks": "all",
            "enable_idempotence": True,
            "max_request_size": self.max_dead_letter_bytes,
            "max_block_ms": 10_000,
            "delivery_timeout_ms": 30_000,
            "request_timeout_ms": 10_000,
        }


def require_answer(options: KafkaOptions, *, within_s: float | None = None) -> None:
    """Raises Unavailable unless a bootstrap server takes a connection within the time, by default the start's. Blocks.

    Asked before a client is made: kafka-python's constructors, when they give up, leave a thread and sockets behind.
    Under TLS the connection's handshake has to end too. Raises Misconfigured for an address or a file that cannot be.
    """
    context = kafka_handshake.tls(options.security)
    within_s = options.start_timeout_s if within_s is None else within_s
    deadline = time.monotonic() + within_s
    servers: list[str] = options.client_config()["bootstrap_servers"]
    while True:
        try:
            kafka_handshake.answering(servers, options.security, context, within_s=deadline - time.monotonic())
        except Unavailable:
            if time.monotonic() + _ASK_AGAIN_S >= deadline:
                raise
            time.sleep(_ASK_AGAIN_S)
        else:
            return


def translated(error: BaseException) -> BaseException:
    """What an error of kafka-python means for the line; one that is nobody's fault but ours comes back as it is."""
    from kafka import errors

    operator = (
        errors.AuthorizationError,
        errors.FencedInstanceIdError,
        errors.GroupMaxSizeReachedError,
        errors.InconsistentGroupProtocolError,
        errors.InvalidSessionTimeoutError,
        errors.InvalidTopicError,
        errors.KafkaConfigurationError,
        errors.SaslAuthenticationFailedError,
        errors.UnsupportedCodecError,
    )
    if isinstance(error, EyestreamError):
        return error
    if isinstance(error, errors.KafkaTimeoutError) and "Unable to bootstrap" in str(error):
        return shut_out(_first_line(error))
    if isinstance(error, operator):
        return Misconfigured(f"Kafka says {type(error).__name__}: {_first_line(error)}")
    if isinstance(error, errors.RetriableError | OSError):
        return Unavailable("kafka", f"{type(error).__name__}: {_first_line(error)}")
    return error


def shut_out(why: str) -> Unavailable:
    """Kafka takes connections, see `require_answer`, and no client comes further."""
    text = f"it lets nobody in: are the security_protocol, the user and the password right? ({why})"
    return Unavailable("kafka", text)


def missing_topic(topic: str) -> Misconfigured:
    """The topic does not exist, or this user may not see it."""
    return Misconfigured(
        f"Kafka has no topic {topic!r} that this user may see; create it, for instance with:"
        f" kafka-topics.sh --create --topic {topic} --partitions 8"
    )


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
