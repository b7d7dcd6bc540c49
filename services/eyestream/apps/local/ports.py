"""Free loopback ports that stay the same over restarts. Knows only numbers and the file they are kept in."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from eyestream.apps.local.base import write_text
from eyestream.errors import Misconfigured

_LOWEST: Final = 20_000
_TRIES: Final = 1_000


def is_free(port: int) -> bool:
    """True when a server could listen on this loopback port now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def keep(file: Path, wanted: Iterable[str], *, in_use: Iterable[str] = ()) -> Mapping[str, int]:
    """A port for each name: the one kept in `file` where it is still free or `in_use` by us, a new one elsewhere.

    New ones lie below the range the kernel hands to outgoing connections, so that a port survives the seconds in which
    a killed part does not hold it.
    """
    kept = dict(read(file))
    ours = set(in_use)
    ports: dict[str, int] = {}
    for name in wanted:
        port = kept.get(name)
        taken = set(ports.values())
        if port is None or port in taken or (name not in ours and not is_free(port)):
            port = _choose(taken | set(kept.values()))
        ports[name] = port
    write_text(file, json.dumps({**kept, **ports}, indent=2) + "\n")
    return ports


def read(file: Path) -> Mapping[str, int]:
    """The ports kept so far; none when nothing was."""
    try:
        return {str(name): int(port) for name, port in json.loads(file.read_text()).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _choose(taken: set[int]) -> int:
    try:
        highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    except (OSError, ValueError):
        highest = 32_767
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        port = chance.randint(_LOWEST, max(highest, _LOWEST + 1_000))
        if port not in taken and is_free(port):
            return port
    raise Misconfigured(f"no free port between {_LOWEST} and {highest} on 127.0.0.1: stop what holds them")
