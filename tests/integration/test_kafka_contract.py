"""The broker contract on Apache Kafka itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from eyestream.brokers.base import Broker
from eyestream.brokers.connection import KafkaOptions
from eyestream.brokers.kafka import KafkaBroker
from eyestream.brokers.topics import create_topics
from eyestream.testing.contracts_broker import BrokerContract

pytestmark = pytest.mark.stack


class KafkaWorld:
    patience_s = 20.0
    prefetch = 5

    def __init__(self, bootstrap: str) -> None:
        name = f"contract-{uuid.uuid4().hex[:12]}"
        self.options = KafkaOptions(
            bootstrap=bootstrap,
            topic=name,
            group=name,
            max_prefetch_messages=self.prefetch,
            revoke_grace_s=0.1,
        )
        create_topics(self.options, partitions=2)
        self.producer = KafkaProducer(bootstrap_servers=bootstrap)
        self.members: list[KafkaBroker] = []

    async def put(
        self, value: bytes, *, partition: int = 0, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        future = self.producer.send(
            self.options.topic, value=value, key=key, headers=list((headers or {}).items()), partition=partition
        )
        await asyncio.to_thread(future.get, 10)

    def member(self) -> KafkaBroker:
        self.members.append(KafkaBroker(self.options))
        return self.members[-1]

    async def crash(self, member: Broker) -> None:
        await member.close()

    async def reassign(self, member: Broker) -> None:
        other = self.member()
        async with asyncio.timeout(self.patience_s):
            await anext(other.messages())
        await other.close()

    async def dead_letters(self) -> list[tuple[bytes, Mapping[str, bytes]]]:
        return await asyncio.to_thread(self._read_dead_letters)

    def _read_dead_letters(self) -> list[tuple[bytes, Mapping[str, bytes]]]:
        with KafkaConsumer(bootstrap_servers=self.options.bootstrap, auto_offset_reset="earliest") as consumer:
            name = self.options.dead_letter_topic
            where = [TopicPartition(name, number) for number in consumer.partitions_for_topic(name)]
            consumer.assign(where)
            missing = sum(consumer.end_offsets(where).values())
            found: list[tuple[bytes, Mapping[str, bytes]]] = []
            while len(found) < missing:
                for batch in consumer.poll(timeout_ms=1000).values():
                    found += [(record.value, dict(record.headers)) for record in batch]
            return found

    async def prefetched(self, member: Broker) -> int:
        assert isinstance(member, KafkaBroker)
        await asyncio.sleep(1)
        return member.prefetched

    async def close(self) -> None:
        await asyncio.gather(*(member.close() for member in self.members))
        self.producer.close()


class TestKafkaBroker(BrokerContract):
    @pytest.fixture
    async def world(self, kafka_bootstrap: str) -> AsyncIterator[KafkaWorld]:
        world = KafkaWorld(kafka_bootstrap)
        yield world
        await world.close()
