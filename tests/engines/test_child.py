"""A process of a measurement's own, and how it ends with the one that waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from eyestream_engines import child

CHILD = """
import pathlib, subprocess, sys, time
from eyestream_engines import child
with child.leaving_in_order():
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        print(server.pid, flush=True)
        time.sleep(600)
    finally:
        server.terminate()
        server.wait()
        pathlib.Path(sys.argv[1]).write_text("in order")
"""
PARENT = """
import signal, sys
from eyestream_engines import child
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job would ignore
child.run([sys.executable, "-c", *sys.argv[1:]], lambda line: print(line, flush=True))
"""


def test_lines_are_told_as_they_come_and_what_went_wrong_is_returned():
    lines = []
    talks = "import sys; print('one'); print('two', flush=True); print('x' * 200_000, file=sys.stderr); sys.exit(3)"
    status, errors = child.run([sys.executable, "-c", talks], lines.append)
    assert (status, lines) == (3, ["one", "two"])
    assert len(errors) > 200_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_is_ended_ends_its_child_in_order_first(number, tmp_path):
    left = tmp_path / "left"
    command = [sys.executable, "-c", PARENT, CHILD, str(left)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        parent.send_signal(number)
    assert parent.returncode == {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: -signal.SIGINT}[number]
    assert left.read_text() == "in order"
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
