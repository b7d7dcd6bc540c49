"""The way to Kafka: one idempotent producer, every record acknowledged by all replicas.

Nothing here knows the spool or pictures. A producer is used until a record fails and then thrown away: the next one
starts with a new identity, so that nothing of a broken connection can arrive late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaConfigurationError, KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from eyestream import kafka_handshake, kafka_security
from eyestream.errors import Misconfigured, Unavailable

Done = Callable[[Exception | None], None]
"""Called once, from any thread: None when the record is kept, else what became of it."""

_HEADROOM: Final = 64 * 1024


class TooLarge(Exception):
    """The topic takes no record of this size."""


class Transport(Protocol):
    """Something that carries records to a topic."""

    def send(self, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]], done: Done) -> None:
        """Take the record; `done` hears what became of it. Records of a key arrive in order.

        May block for seconds while the broker is looked for; raises Unavailable when it is not found, and `done` is
        then never called.
        """
        ...

    def close(self, *, timeout_s: float = 0.0) -> None:
        """Wait so long for records under way, then give them up: nothing arrives after this. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTarget:
    """Where pictures go. `max_message_bytes` is the topic's own limit for a record.

    `security` holds kafka-python's TLS and SASL options. A record without an answer for `delivery_timeout_s` failed.
    """

    bootstrap: str
    topic: str = "screening.images"
    max_message_bytes: int = 16 * 2**20
    connect_timeout_s: float = 8.0
    delivery_timeout_s: float = 120.0
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def connect(self) -> KafkaTransport:
        """A new transport. Blocks for twice `connect_timeout_s` at most: for a connection, and for Kafka behind it.

        Raises Unavailable when no broker answers, Misconfigured for options that cannot be. Neither tells a value of
        `security`, which may be a password.
        """
        return KafkaTransport(self)


class _Producer(KafkaProducer):  # type: ignore[misc]
    def flush(self, timeout: float | None = None) -> None:
        """As KafkaProducer's, but quiet: when this raises, `close` stops half-way and leaves a thread behind."""
        try:
            super().flush(timeout)
        except KafkaError:
            return


class KafkaTransport:
    """Carries records with kafka-python."""

    def __init__(self, target: KafkaTarget) -> None:
        security = dict(target.security)
        kafka_security.check(security)
        if strange := sorted(security.keys() - KafkaProducer.DEFAULT_CONFIG.keys()):
            raise Misconfigured(f"Kafka's options are wrong: kafka-python knows no {', '.join(strange)}")
        if (context := kafka_handshake.tls(security)) is not None:
            security["ssl_context"] = context
        servers = [server.strip() for server in target.bootstrap.split(",")]
        servers = kafka_handshake.answering(servers, security, context, within_s=target.connect_timeout_s)
        self._topic = target.topic
        connect_ms = int(target.connect_timeout_s * 1000)
        delivery_ms = int(target.delivery_timeout_s * 1000)
        try:
            self._producer = _Producer(
                bootstrap_servers=servers,
                bootstrap_timeout_ms=connect_ms,
                max_block_ms=connect_ms,
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=delivery_ms,
                request_timeout_ms=min(30_000, delivery_ms),
                max_request_size=target.max_message_bytes + _HEADROOM,
                allow_auto_create_topics=False,
                reconnect_backoff_max_ms=2000,
                metrics_enabled=False,
                **security,
            )
        except KafkaConfigurationError as error:
            raise Misconfigured(f"Kafka's options do not fit together: {error}") from error
        except (ValueError, AssertionError, TypeError, FileNotFoundError) as error:
            raise Misconfigured(f"Kafka's options are wrong: {error}") from error
        except KafkaTimeoutError as error:
            login = ", and are the user and password right" if "sasl_mechanism" in security else ""
            text = f"{', '.join(servers)} takes connections and lets nobody in: is it Kafka{login}?"
            raise Unavailable("kafka", text) from error
        except (KafkaError, OSError) as error:
            raise Unavailable("kafka", type(error).__name__) from error

    def send(self, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]], done: Done) -> None:
        """As Transport promises."""
        try:
            future = self._producer.send(self._topic, key=key, value=value, headers=headers)
        except MessageSizeTooLargeError as error:
            raise TooLarge from error
        except KafkaTimeoutError as error:
            raise Unavailable(
                "kafka", f"topic {self._topic} is not there, or the brokers Kafka names cannot be reached"
            ) from error
        except KafkaError as error:
            raise Unavailable("kafka", type(error).__name__) from error
        future.add_callback(lambda _: done(None))
        future.add_errback(lambda error: done(TooLarge() if isinstance(error, MessageSizeTooLargeError) else error))

    def close(self, *, timeout_s: float = 0.0) -> None:
        """As Transport promises."""
        self._producer.close(timeout=timeout_s)
