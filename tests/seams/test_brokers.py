"""Every broker we ship keeps the contract; the memory one here, Kafka in test_kafka_contract."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from eyestream.brokers.base import Broker
from eyestream.brokers.memory import MemoryBroker, MemoryTopic
from eyestream.testing.contracts_broker import BrokerContract


class MemoryWorld:
    patience_s = 1.0
    prefetch = 1

    def __init__(self) -> None:
        self.topic = MemoryTopic(partitions=2)

    async def put(
        self, value: bytes, *, partition: int = 0, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        self.topic.put(value, partition=partition, key=key, headers=headers)

    def member(self) -> MemoryBroker:
        return MemoryBroker(self.topic)

    async def crash(self, member: Broker) -> None:
        assert isinstance(member, MemoryBroker)
        member.crash()

    async def reassign(self, member: Broker) -> None:
        self.topic.rebalance()

    async def dead_letters(self) -> list[tuple[bytes, Mapping[str, bytes]]]:
        return [
            (
                letter.message.value,
                {
                    **letter.message.headers,
                    "eyestream-reason": letter.rejection.reason.encode(),
                    "eyestream-stage": letter.rejection.stage.encode(),
                    "eyestream-explanation": letter.rejection.explanation.encode(),
                    "eyestream-attempts": str(letter.attempts).encode(),
                },
            )
            for letter in self.topic.dead_letters
        ]

    async def prefetched(self, member: Broker) -> int:
        return 0


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()
