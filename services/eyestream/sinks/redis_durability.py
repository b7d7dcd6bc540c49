"""When a write to Redis counts as stored. Nothing here knows what was written."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from eyestream.errors import Misconfigured, Unavailable
from eyestream.sinks.redis_client import PART, Server, translated
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Durability:
    """What must have happened to a write before it counts as stored.

    `fsync`: it is on the primary's disk (WAITAOF; or `appendfsync always` on servers before 7.2, which have none).
    `replicas`: so many replicas hold it (WAIT). When `timeout_s` passes first, the write is Unavailable, hence
    repeated. With `appendfsync everysec` an fsync is up to a second away; `always` answers in milliseconds.
    """

    fsync: bool = False
    replicas: int = 0
    timeout_s: float = 3.0


async def look_at_persistence(server: Server, durability: Durability) -> bool:
    """Warn of a server that forgets. True when an fsync must be waited for after each write."""
    waits = False
    for node in await server.primaries():
        try:
            facts = await node.info("memory") | await node.info("persistence")
            policy, appends = facts.get("maxmemory_policy", "unknown"), bool(facts.get("aof_enabled"))
            if durability.fsync:
                waits |= await _fsync_by_waiting(node, appends=appends)
        except (RedisError, OSError) as error:
            raise translated(error) from error
        if policy != "noeviction":
            _warn(f"redis may evict results (maxmemory-policy {policy}): set it to noeviction")
        if not appends:
            _warn("redis keeps no append-only file: results since its last snapshot are lost with it")
    return waits


async def _fsync_by_waiting(node: Redis, *, appends: bool) -> bool:
    if not appends:
        raise Misconfigured("an fsync is to be waited for and redis keeps no append-only file: set `appendonly yes`")
    # In one word: the client's own reading of COMMAND fails on a command that is not there.
    known = await node.execute_command("COMMAND INFO", "WAITAOF")  # type: ignore[no-untyped-call]
    if any(known):
        return True
    if (await node.config_get("appendfsync")).get("appendfsync") == "always":
        return False
    raise Misconfigured(
        "an fsync is to be waited for and this redis has no WAITAOF (it came with 7.2): set `appendfsync always`"
    )


def _warn(text: str) -> None:
    log.warning(text, extra={"action": Verb.STARTED, "part": PART})


async def barrier(server: Server, keys: Iterable[str], durability: Durability) -> None:
    """Returns once everything written to the nodes of these keys so far is as durable as asked; else Unavailable.

    WAIT and WAITAOF wait for the last write of their own connection, so a write goes ahead of them: what a node
    replicates and appends is one sequence, and what came before the write in it is as durable as the write. The keys
    are overwritten.
    """
    nodes: dict[str, tuple[Redis, str]] = {}
    for key in keys:
        name, node = server.node_of(key)
        nodes[name] = (node, key)
    for node, key in nodes.values():
        await _wait(node, key, durability)


async def _wait(node: Redis, key: str, durability: Durability) -> None:
    timeout_ms = int(durability.timeout_s * 1000)
    pipeline: Any = node.pipeline(transaction=False)
    pipeline.execute_command("SET", key, "1", "EX", 60)
    if durability.fsync:
        pipeline.execute_command("WAITAOF", 1, 0, timeout_ms)
    if durability.replicas:
        pipeline.execute_command("WAIT", durability.replicas, timeout_ms)
    try:
        _, *answers = await pipeline.execute()
    except (RedisError, OSError) as error:
        raise translated(error) from error
    if durability.fsync and answers[0][0] < 1:
        raise Unavailable(PART, f"nothing reached the disk within {durability.timeout_s} s")
    if durability.replicas and answers[-1] < durability.replicas:
        raise Unavailable(
            PART, f"{answers[-1]} of {durability.replicas} replicas had the write within {durability.timeout_s} s"
        )
