"""A connection to one Redis server or a cluster: pipelines of calls, and which errors mean what.

Nothing here knows what the keys hold.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

from eyestream.errors import Misconfigured, Unavailable
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

PART: Final = "redis"

_AWAY: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    exceptions.TryAgainError,
    exceptions.AskError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.RedisClusterException,
    OSError,
)
_AWAY_CODES: Final = ("MISCONF", "NOREPLICAS", "BUSY ", "UNBLOCKED", "NOQUORUM")
_REFUSED: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.NoPermissionError,
    exceptions.AuthorizationError,
)


def translated(error: Exception) -> Exception:
    """What an error of the client means: Unavailable, Misconfigured, or the error itself when it is our own bug."""
    if isinstance(error, _REFUSED):
        return Misconfigured(f"redis refuses this user: {error}. Check the user, its password and its ACL.")
    if isinstance(error, exceptions.ClusterCrossSlotError):
        return error
    if isinstance(error, _AWAY):
        return Unavailable(PART, str(error) or type(error).__name__)
    if isinstance(error, exceptions.ResponseError) and str(error).startswith(_AWAY_CODES):
        return Unavailable(PART, str(error))
    if isinstance(error, exceptions.ResponseError) and "unknown command" in str(error).lower():
        return Misconfigured(
            f"redis does not know what it is asked: {error}. It has to be Redis 7.0 or later, or Valkey, and no command"
            " renamed."
        )
    return error


@dataclass(frozen=True, slots=True)
class Library:
    """The project's server-side functions. Named by their content, so that two releases may work on one server."""

    version: str
    code: str

    @classmethod
    def packaged(cls, file: str = "functions.lua") -> Library:
        """One that ships with this release: what the line calls, or the readers' `readings.lua`."""
        source = resources.files("eyestream.sinks").joinpath(file).read_text()
        version = hashlib.sha256(source.encode()).hexdigest()[:8]
        return cls(version, f"#!lua name=eyestream_{version}\n" + source.replace("_@'", f"_{version}'"))

    def function(self, name: str) -> str:
        """The name that the server knows a function by."""
        return f"es_{name}_{self.version}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function; its keys lie in one slot."""

    function: str
    keys: Sequence[str]
    args: Sequence[str | int | float]

    def words(self, library: Library) -> tuple[Any, ...]:
        """The command as it goes out."""
        return ("FCALL", library.function(self.function), len(self.keys), *self.keys, *self.args)


@dataclass(frozen=True, slots=True)
class Command:
    """One plain command; `words[1]` is its key."""

    words: tuple[Any, ...]


@dataclass(slots=True)
class Server:
    """One server or a cluster. Connects when first used; safe for concurrent use by the tasks of one event loop."""

    url: str
    cluster: bool = False
    timeout_s: float = 5.0
    options: Mapping[str, Any] = field(default_factory=dict)
    library: Library = field(default_factory=Library.packaged)
    _client: Redis | RedisCluster | None = None
    _nodes: dict[str, Redis] = field(default_factory=dict)

    @property
    def client(self) -> Redis | RedisCluster:
        """The client behind, for reads that need more than a pipeline."""
        if self._client is None:
            settings: dict[str, Any] = {
                "decode_responses": True,
                "socket_timeout": self.timeout_s,
                "socket_connect_timeout": self.timeout_s,
                **self.options,
            }
            if self.cluster:
                # A few tries of its own, because it looks up the cluster's new shape only between them.
                retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 3)
                self._client = RedisCluster.from_url(self.url, retry=retry, **settings)
            else:
                # The line retries, with its own patience.
                self._client = Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), **settings)
        return self._client

    async def run(self, commands: Sequence[Call | Command]) -> list[Any]:
        """Send all in one round trip (one for each node of a cluster); the answers, in order.

        Those on one slot run in the order given. Loads the functions when the server does not know them, and calls
        again those that were not run. Raises Unavailable when any may not have run.
        """
        replies = await self._pipeline(commands)
        lost = [index for index, reply in enumerate(replies) if _unknown_function(reply)]
        if lost:
            await self.load()
            for index, reply in zip(lost, await self._pipeline([commands[index] for index in lost]), strict=True):
                replies[index] = reply
        failures = [translated(reply) for reply in replies if isinstance(reply, Exception)]
        # A bug must not hide behind a part that is away, nor be retried for ever.
        for failure in sorted(failures, key=lambda failure: isinstance(failure, Unavailable)):
            raise failure
        return replies

    async def _pipeline(self, commands: Sequence[Call | Command]) -> list[Any]:
        try:
            client = self.client
            if isinstance(client, RedisCluster):
                await client.initialize()
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                if isinstance(command, Call):
                    words, key = command.words(self.library), command.keys[0]
                else:
                    words, key = command.words, command.words[1]
                if isinstance(client, RedisCluster):
                    # Without the node, the client asks a server for the keys of every FCALL.
                    pipeline.execute_command(*words, target_nodes=client.get_node_from_key(key))
                else:
                    pipeline.execute_command(*words)
            return await pipeline.execute(raise_on_error=False)
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            raise translated(error) from error

    async def load(self) -> None:
        """Give every primary the functions. Idempotent."""
        for node in await self.primaries():
            try:
                await node.function_load(self.library.code, replace=True)
            except (exceptions.RedisError, OSError) as error:
                raise translated(error) from error
        log.info("loaded the functions of redis", extra={"action": Verb.STARTED, "part": PART})

    async def primaries(self) -> list[Redis]:
        """A plain client for each primary; the one client when there is no cluster."""
        client = self.client
        if isinstance(client, Redis):
            return [client]
        try:
            await client.initialize()
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            raise translated(error) from error
        return [self._plain(node) for node in client.get_primaries()]

    def _plain(self, node: ClusterNode) -> Redis:
        if node.name not in self._nodes:
            settings: dict[str, Any] = {**parse_url(self.url), **self.options, "host": node.host, "port": node.port}
            settings |= {"decode_responses": True, "socket_timeout": self.timeout_s, "retry": Retry(NoBackoff(), 0)}
            self._nodes[node.name] = Redis.from_pool(ConnectionPool(**settings))
        return self._nodes[node.name]

    def node_of(self, key: str) -> tuple[str, Redis]:
        """The primary that holds a key: its name and a plain client for it."""
        client = self.client
        if isinstance(client, Redis):
            return self.url, client
        try:
            node = client.get_node_from_key(key)
        except exceptions.RedisClusterException as error:
            raise translated(error) from error
        if node is None:
            raise Unavailable(PART, "the cluster does not cover every slot")
        return node.name, self._plain(node)

    async def close(self) -> None:
        """Drop every connection. Idempotent; the next use connects anew."""
        client, self._client = self._client, None
        nodes, self._nodes = self._nodes, {}
        for each in (*nodes.values(), client):
            if each is not None:
                await each.aclose()


def _unknown_function(reply: object) -> bool:
    return isinstance(reply, exceptions.ResponseError) and "function not found" in str(reply).lower()
