"""Work in a process of its own, which gives back what it took of memory and ends with its parent. Knows no encoder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryFile
from types import FrameType
from typing import Final

_ENDS_WITHIN_S: Final = 60.0
"""Triton's own deadline and more; a process that is still at it then computes, and has no Triton yet or any more."""


def run(command: Sequence[str], told: Callable[[str], None]) -> tuple[int, str]:
    """Status and stderr of the process; `told` has its lines. Blocks until it ends.

    SIGTERM or Ctrl-C meanwhile end it first, in order, and nothing of its group outlives it: a server or a compiler
    would go on holding the GPU. Where it starts others it runs `leaving_in_order` for its part.
    """
    with (
        leaving_in_order(),
        TemporaryFile("w+") as errors,
        # A session of its own, for Ctrl-C would come beside our SIGTERM and the second cut short what the first began.
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told(line.rstrip())
            process.wait()
        except BaseException:  # SystemExit of a SIGTERM and Ctrl-C above all: it must not go on without us
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS_WITHIN_S)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        errors.seek(0)
        return process.returncode, errors.read()


@contextlib.contextmanager
def leaving_in_order() -> Iterator[None]:
    """SIGTERM raises SystemExit meanwhile: what was started is then ended on the way out. In the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours to handle there
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would cut the way out short
    sys.exit(128 + number)
