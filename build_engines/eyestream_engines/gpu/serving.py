"""The same engine through Triton, asked as the line asks it: its own client, whole batches, over gRPC, two in flight.

Knows how a server is started and no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from eyestream.apps.local import Stack
from eyestream.apps.local.triton import infer_once
from eyestream.encoders.base import Encoder
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import Pixels, Vectors
from eyestream_engines.gpu.timing import Contestant

Serve = Callable[[Path, str], AbstractContextManager[str]]
"""Serves one model of a repository while it is open, and gives the gRPC address."""

USUAL: Final = Path("/opt/tritonserver/bin/tritonserver")
"""Where NVIDIA's container has it."""
_READY_S: Final = 600.0
_ANSWER_S: Final = 120.0
_STOP_S: Final = 60.0
_POLL_S: Final = 0.5
_LAST: Final = 1500
"""Letters of a server's log that are kept."""


def server(named: Path | None = None) -> Path | None:
    """The tritonserver to use: the one named, else that of the path, else that of NVIDIA's container; None without.

    Raises Misconfigured when the named one is no program.
    """
    if named is not None:
        if shutil.which(named) is None:
            raise Misconfigured(f"{named} is no program that can be run: name tritonserver's own path")
        return named.resolve()
    found = shutil.which("tritonserver")
    return Path(found) if found else USUAL if USUAL.exists() else None


def by(program: Path) -> Serve:
    """With that tritonserver and the back ends beside it."""

    @contextlib.contextmanager
    def serve(repository: Path, model: str) -> Iterator[str]:
        address = f"127.0.0.1:{_free_port()}"
        command = [
            str(program),
            f"--model-repository={repository}",
            "--disable-auto-complete-config",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={address.rpartition(':')[2]}",
            "--allow-http=false",
            "--allow-metrics=false",
        ]
        with TemporaryDirectory(prefix="eyestream-triton-") as place:
            log = Path(place) / "log"
            with log.open("wb") as written, subprocess.Popen(command, stdout=written, stderr=written) as process:
                try:
                    _await(process, address, model, log)
                    yield address
                finally:
                    _end(process)

    return serve


@contextlib.contextmanager
def on_processor(repository: Path, model: str) -> Iterator[str]:  # noqa: ARG001 - it serves all there are
    """The local stack's own Triton, which has no TensorRT."""
    with (
        TemporaryDirectory(prefix="eyestream-triton-") as state,
        Stack(Path(state), model_repository=repository, parts=("triton",)) as stack,
    ):
        yield stack.up().triton_grpc


class Client:
    """The line's client with two requests for each instance in flight, as the line keeps them. Close it.

    `connecting` is awaited at once; what it raises is raised.
    """

    def __init__(self, connecting: Coroutine[Any, Any, Encoder]) -> None:
        self._runner = asyncio.Runner()
        try:
            self._encoder = self._runner.run(connecting)
        except BaseException:  # Ctrl-C too: nobody else could close its loop
            self._runner.close()
            raise

    @classmethod
    def to(cls, address: str, model: str) -> Self:
        """A client of that model. Raises Unavailable where it is not served, Misconfigured where it is none of ours."""
        return cls(TritonEncoder.connect(address, model, timeout_s=_ANSWER_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._encoder.close())
        self._runner.close()

    @property
    def in_flight(self) -> int:
        """Requests that are with the server at a time."""
        return 2 * self._encoder.spec.instances

    def answer(self, pixels: Pixels) -> Vectors:
        """Embeddings of one batch. Raises Unavailable when the server fails it."""
        return self._runner.run(self._encoder.encode(pixels))

    def contestant(self, pixels: Pixels) -> Contestant:
        """Asks for the batch so many times; a request begins when one before it has ended."""

        async def ask(times: int) -> None:
            left = iter(range(times))

            async def one_after_another() -> None:
                for _ in left:
                    await self._encoder.encode(pixels)

            asking = [asyncio.create_task(one_after_another()) for _ in range(self.in_flight)]
            try:
                await asyncio.gather(*asking)
            finally:  # after a fault, what else is in flight is of no use
                for task in asking:
                    task.cancel()
                await asyncio.gather(*asking, return_exceptions=True)

        def run(times: int) -> None:
            self._runner.run(ask(times))

        return run


def _await(process: subprocess.Popen[bytes], address: str, model: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            infer_once(address, model, within_s=_ANSWER_S)
        except Unavailable as error:
            told = log.read_text(errors="replace").strip()[-_LAST:]
            if process.poll() is not None:
                raise Misconfigured(
                    f"Triton ended with status {process.returncode} before it served:\n{told}"
                ) from None
            if time.monotonic() > deadline:
                raise Misconfigured(f"Triton did not serve within {_READY_S:.0f} s: {error}\n{told}") from None
            time.sleep(_POLL_S)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
