"""Ray Serve's proxy on a machine that is busy: it is waited for, and where it does not come, a person is told."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.serve

LATE = """\
import time

def come():
    time.sleep({late_s})
    return []
"""
"""What Ray's proxy is made to run before it listens: as slow as a busy machine, at every run."""


@contextlib.contextmanager
def running(folder: Path, *, late_s: float, **environment: str) -> Iterator[subprocess.Popen]:
    """A service whose proxy takes so long; its log and, once it listens, its address are in the folder."""
    (folder / "late.py").write_text(LATE.format(late_s=late_s))
    told = {
        **os.environ,  # noqa: TID251 - handed on whole
        "PYTHONPATH": str(folder),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "late:come",
        "EYESTREAM_WEB__UNPROTECTED": "true",
        "EYESTREAM_WEB__PORT": "0",
        **environment,
    }
    command = [sys.executable, "-m", "eyestream", "web", "run", "--serve", "--ready-file", str(folder / "ready")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=told)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(90)


def test_a_proxy_that_takes_longer_than_ray_would_wait_is_waited_for(tmp_path: Path):
    with running(tmp_path, late_s=20) as process:  # Ray's own limit, missed three times, is over after 15
        ready, deadline = tmp_path / "ready", time.monotonic() + 150
        while not (ready.exists() and ready.read_text()):
            assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.1)
        assert httpx.get(ready.read_text().strip() + "/healthz", timeout=30).status_code == 200
        process.terminate()
        assert process.wait(90) == 0


def test_a_proxy_that_does_not_come_is_told_in_a_line_that_says_where_to_look(tmp_path: Path):
    with running(tmp_path, late_s=60, RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S="0.2") as process:
        assert process.wait(150) == 1
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    told = re.search(r"^eyestream: Ray Serve is unavailable: .* less to do; .*, (\S+) says why\.$", log, re.MULTILINE)
    assert told, log[-2000:]
    assert list(Path(told[1]).glob("proxy_*.log"))
