"""The results service without Ray: one process, or several on one socket that live and end together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from eyestream.apps import web_wiring
from eyestream.apps.web_metrics import exposed
from eyestream.errors import Misconfigured
from eyestream.settings import Settings
from eyestream.telemetry import Verb, WebMetrics

log = logging.getLogger(__name__)


def run_alone(settings: Settings, ready_file: Path | None) -> None:
    """Serve until SIGTERM; `ready_file` is given the address once it listens. Raises Misconfigured where it cannot."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises again what it caught, once it has ended in order
    listening = listen(settings.web.host, settings.web.port)
    children = [_fork(settings, listening) for _ in range(settings.web.processes - 1)]
    try:
        asyncio.run(_serve(settings, listening, ready_file, children))
    finally:
        _end(children)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


async def _serve(
    settings: Settings,
    listening: socket.socket,
    ready_file: Path | None = None,
    children: Sequence[int] = (),
    *,
    parent: int | None = None,
) -> None:
    """Answer until SIGTERM. Raises RuntimeError when a child ended before: whoever keeps this one starts it anew."""
    import uvicorn

    from eyestream.web.application import create

    metrics = WebMetrics()
    async with web_wiring.services(settings, metrics) as made:
        config = uvicorn.Config(
            create(made),
            access_log=False,  # it would write paths down; the audit record says more, and to fewer people
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=32 * 1024,
        )
        server = uvicorn.Server(config)
        with exposed(settings, metrics):
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            told = False
            while not serving.done():
                await asyncio.wait([serving], timeout=1.0 if told else 0.02)
                if server.started and not told:
                    told = True
                    _tell(listening, ready_file)
                if server.should_exit:
                    _end(children)
                elif parent is not None and os.getppid() != parent:
                    server.should_exit = True  # it was killed, and whoever starts it anew wants the port
                elif any(_ended(child) for child in children):
                    server.should_exit = True
                    await serving
                    raise RuntimeError("a process of the results service ended")
            await serving
    log.info("the results service ended", extra={"action": Verb.STOPPED})


def listen(host: str, port: int) -> socket.socket:
    """The socket that all processes accept on. Raises Misconfigured where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio lets answers go at once (TCP_NODELAY) only where the protocol is named; else each waits for the 40 ms in
    # which the reader's system holds back its acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Misconfigured(f"The results service cannot listen on {host}:{port}: {error.strerror}.") from None
    listening.listen(2048)
    return listening


def _fork(settings: Settings, listening: socket.socket) -> int:
    """One more process on the same socket, forked before any thread or loop exists."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        asyncio.run(_serve(settings, listening, parent=parent))
        status = 0
    except BaseException:  # nothing above a forked child may run: its parent hears of the status
        log.critical("a process of the results service ended", exc_info=True, extra={"action": Verb.FAILED})
    finally:
        os._exit(status)


def _tell(listening: socket.socket, ready_file: Path | None) -> None:
    host, port = listening.getsockname()[:2]
    if ready_file is not None:
        ready_file.write_text(f"http://{host}:{port}\n")
    log.info("the results service listens", extra={"action": Verb.STARTED})


def _end(children: Sequence[int]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


def _ended(child: int) -> bool:
    return os.waitpid(child, os.WNOHANG)[0] == child
