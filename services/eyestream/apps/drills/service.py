"""The results service over a drill's ground, as the process that a clinic's machine would run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eyestream.apps.drills.ground import PLAIN, Ground
from eyestream.apps.local.worker import settings_of
from eyestream.errors import Unavailable
from eyestream.web.keys import make_key
from eyestream.web.principals import SCOPES

_STARTS_WITHIN_S: Final = 90.0
_STOPS_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running results service: where it listens, and one key for each name asked for."""

    process: subprocess.Popen[bytes]
    address: str
    keys: dict[str, str]
    log: Path


@contextlib.contextmanager
def serving(
    ground: Ground,
    folder: Path,
    *options: str,
    port: int = 0,
    keys: dict[str, Sequence[str]] | None = None,
    **settings: object,
) -> Iterator[Service]:
    """A service over the plain worker's settings while the block runs; `settings` are of the section web.

    Raises Unavailable with its log when it does not start.
    """
    made = {name: make_key(name, scopes) for name, scopes in (keys or {"tester": SCOPES}).items()}
    (folder / "keys.toml").write_text("\n".join(entry for _, entry in made.values()))
    ready, log = folder / "ready", folder / "log"
    web = {"api_keys": folder / "keys.toml", "port": port, "requests_per_s": 100_000, "burst": 100_000, **settings}
    environment = {
        **os.environ,  # noqa: TID251 - handed on whole
        "OPENBLAS_NUM_THREADS": "1",
        **{f"EYESTREAM_WEB__{name.upper()}": str(value) for name, value in web.items()},
    }
    file = str(settings_of(ground.stack.state, name=PLAIN))
    command = [sys.executable, "-m", "eyestream", "web", "run", "-s", file, "--ready-file", str(ready)]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, *options], stdout=out, stderr=out, env=environment)
    try:
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not (ready.exists() and ready.read_text()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("the results service", f"did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield Service(process, ready.read_text().strip(), {name: key for name, (key, _) in made.items()}, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
