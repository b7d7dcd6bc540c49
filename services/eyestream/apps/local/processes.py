"""Starting, recognising and ending processes that outlive the one that starts them. Knows no part and no port.

A process is known by its id, its start time in clock ticks since boot and the boot itself, which the kernel never
gives twice; never by its name. It records itself before it becomes the program, so that there is no moment at which a
killed starter leaves it running and unrecorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

from eyestream.apps.local.base import Command

# $0 is the record, $1 the working folder. The shell keeps its process id and start time when it becomes the program.
_LAUNCHER: Final = (
    'cd "$1" && shift && cat "/proc/$$/stat" /proc/sys/kernel/random/boot_id > "$0.new" && '
    'mv "$0.new" "$0" && exec "$@"'
)
_MARK: Final = "LOCAL_EYESTREAM_PART"
_POLL_S: Final = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A process that was recorded and still runs."""

    pid: int
    started_ticks: int


def spawn(command: Command, *, record: Path, log: Path) -> None:
    """Start a program in a session of its own, its output appended to `log`, its identity written to `record`.

    Returns at once; the record follows within milliseconds. The program starts in the record's folder and inherits
    this process's environment with the command's additions.
    """
    record.unlink(missing_ok=True)
    record.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**inherited_environment(), **command.environment, _MARK: str(record)}
    argv = ["/bin/sh", "-c", _LAUNCHER, str(record), str(record.parent), *command.argv]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # posix_spawn, not Popen: the process is meant to outlive us, and no object here should claim to own it.
    os.posix_spawn(
        "/bin/sh",
        argv,
        environment,
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
        setsigmask=[],
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """SIGTERM meanwhile ends this program as Ctrl-C does, so that what it started is ended on the way out.

    For programs that start processes which would outlive them. In the main thread only.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def inherited_environment() -> Mapping[str, str]:
    """What a child gets from us: everything, for a part may need the user's proxies and certificates."""
    return dict(os.environ)  # noqa: TID251 - handed on to a child, not read as a setting


def running(record: Path) -> Running | None:
    """The process this record speaks of, or None when it ended (a zombie has ended) or nothing was recorded."""
    try:
        text = record.read_text()
        stat, boot = text.rsplit(")", 1)[1].split("\n", 1)
        pid, started = int(text.split(" ", 1)[0]), int(stat.split()[_STARTED])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    if boot.strip() != Path("/proc/sys/kernel/random/boot_id").read_text().strip():
        return None
    _reap(pid)
    return Running(pid, started) if _started_ticks(pid) == started else None


def members(record: Path) -> tuple[int, ...]:
    """The recorded process, when it runs, and whatever it started that still does, the recorded one first.

    Children of a killed process are found by the session it led and by the mark they inherited from it.
    """
    leader = running(record)
    try:
        pid = leader.pid if leader else int(record.read_text().split(" ", 1)[0])
    except (FileNotFoundError, ValueError):
        return ()
    found = [leader.pid] if leader else []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != pid
                and os.getsid(process.pid) == pid
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(_MARK) == str(record)
            ):
                found.append(process.pid)
    return tuple(found)


def send(record: Path, number: int) -> bool:
    """Send a signal to the recorded process itself. False when it does not run."""
    leader = running(record)
    if leader is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader.pid, number)
    return True


def wait_recorded(record: Path, within_s: float) -> bool:
    """Wait until a process that was just started has recorded itself; False when it has not after `within_s`."""
    deadline = time.monotonic() + within_s
    while not record.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def wait_ended(record: Path, within_s: float) -> bool:
    """Wait until the recorded process has ended; False when it still runs after `within_s`."""
    deadline = time.monotonic() + within_s
    while running(record) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def stop(record: Path, *, within_s: float) -> bool:
    """End the recorded process and all it started, and forget it. True when it ended by itself after SIGTERM.

    Idempotent. Returns only when none of them runs any more.
    """
    asked = send(record, signal.SIGTERM)
    send(record, signal.SIGCONT)  # one that was halted hears SIGTERM only when it goes on
    orderly = wait_ended(record, within_s) if asked else True
    deadline = time.monotonic() + _CHILDREN_S
    while left := members(record):
        if not orderly or time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    record.unlink(missing_ok=True)
    return orderly


_CHILDREN_S: Final = 3.0
"""Children are given this long to notice that their parent ended."""

_STARTED: Final = 19
"""The start time's place in /proc/<pid>/stat behind the command's closing parenthesis."""


def _started_ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[_STARTED])


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
