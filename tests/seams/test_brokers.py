"""Every broker keeps the contract: the memory one and the example's here, Kafka in test_kafka_contract."""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from eyestream.brokers.base import Broker
from eyestream.brokers.memory import MemoryBroker, MemoryTopic
from eyestream.testing.contracts_broker import BrokerContract

EXAMPLE = Path(__file__).parents[2] / "examples" / "05_add_a_broker.py"


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


class SqliteWorld:
    """The example's broker; a queue in a file, so a member of its own puts and looks."""

    patience_s = 10.0
    prefetch = 1

    def __init__(self, path: Path) -> None:
        self.make = partial(runpy.run_path(str(EXAMPLE))["SqliteBroker"], path)
        self.device = self.make()

    async def put(
        self, value: bytes, *, partition: int = 0, key: bytes | None = None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        self.device.put(value, partition=partition, key=key, headers=headers)

    def member(self) -> Broker:
        member: Broker = self.make()
        return member

    async def crash(self, member: Broker) -> None:
        """The lease of the dead is left to lapse."""
        await member.drain()

    async def reassign(self, member: Broker) -> None:
        self.device.execute("UPDATE lease SET owner = NULL")

    async def dead_letters(self) -> list[tuple[bytes, Mapping[str, bytes]]]:
        return [
            (value, {name: text.encode("latin-1") for name, text in json.loads(headers).items()})
            for value, headers in self.device.execute("SELECT value, headers FROM dead")
        ]

    async def prefetched(self, member: Broker) -> int:
        return 0


class TestSqliteBroker(BrokerContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SqliteWorld:
        return SqliteWorld(tmp_path / "queue.db")
