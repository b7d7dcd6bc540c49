"""What `eyestream device send` and `watch` do once their parts are made: threads, signals, progress."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from eyestream.device.database import DiskFull
from eyestream.device.intake import Intake, Taken
from eyestream.device.lock import SpoolLock
from eyestream.device.producer import Sender
from eyestream.device.pseudonym import SiteKey
from eyestream.device.spool import Spool
from eyestream.device.watcher import FolderWatcher
from eyestream.errors import Misconfigured, Rejected, Unavailable
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

_TIDY_S: Final = 3600.0
_POLL_S: Final = 0.2


def waking(intake: Intake, sender: Sender) -> Callable[[Path], None]:
    """Take a file and tell the sender at once."""

    def take(path: Path) -> None:
        intake.take(path)
        sender.wake()

    return take


def watch(
    watcher: FolderWatcher, sender: Sender, spool: Spool, *, remember_s: float, memory: SpoolMemory | None = None
) -> None:
    """Watch and send until a signal. Raises Misconfigured when another process sends from this spool.

    What lies in a folder whose files stay, as its `memory` knows, is not forgotten after `remember_s`.
    """
    lock = SpoolLock(spool.path)
    if not lock.take():
        raise Misconfigured(f"another process sends from {spool.path}; give this one a --spool of its own")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watcher.stop())
    tidied = [float("-inf")]

    def tidy() -> bool:
        if time.monotonic() - tidied[0] > _TIDY_S:
            tidied[0] = time.monotonic()
            try:
                spool.prune(older_than_s=remember_s, still_there=memory.met() if memory is not None else ())
            except Unavailable as error:  # a disk that is full above all: what waits must go out to make room on it
                log.warning("cannot tidy the spool", extra={"action": Verb.RETRIED, "part": error.part})
        return False

    with ThreadPoolExecutor(1, "sender") as threads:
        sending = threads.submit(sender.run, until=tidy)
        # A sender that failed must not leave a watcher behind that looks well.
        sending.add_done_callback(lambda _: watcher.stop())
        try:
            watcher.run()
        finally:
            sender.stop()
        sending.result()


class SpoolMemory:
    """Files that are done with, in the spool, under keyed fingerprints: their names may be patients'."""

    def __init__(self, spool: Spool, key: SiteKey, folder: Path) -> None:
        self._spool, self._key, self._folder = spool, key, folder
        self._met: set[str] = set()
        self._meeting = threading.Lock()

    def knows(self, path: Path) -> bool:
        """As FileMemory promises."""
        fingerprint = self._fingerprint(path)
        known = self._spool.remembers_file(fingerprint)
        if known:
            with self._meeting:
                self._met.add(fingerprint)
        return known

    def met(self) -> set[str]:
        """Fingerprints of the known files that were there since the last call. From any thread."""
        with self._meeting:
            met, self._met = self._met, set()
        return met

    def remember(self, path: Path) -> None:
        """As FileMemory promises."""
        self._spool.remember_file(self._fingerprint(path))

    def _fingerprint(self, path: Path) -> str:
        state = path.stat()
        return self._key.fingerprint(f"{path.relative_to(self._folder)}\0{state.st_size}\0{state.st_mtime_ns}")


class SendJob:
    """One `send`: files into the spool, and at the same time out of it."""

    def __init__(self, spool: Spool, sender: Sender | None, deadline: float) -> None:
        self._spool = spool
        self._sender = sender
        self._deadline = deadline
        self._console = Console(stderr=True)
        self._mine: list[str] = []
        self._everything = False
        self._lock = SpoolLock(spool.path)
        self._sending: Future[None] | None = None

    def run(self, files: list[Path], intake: Intake | None) -> bool:
        """True when everything went well."""
        self._everything = intake is None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with (
            Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress,
            ThreadPoolExecutor(1, "sender") as threads,
        ):
            self._start_sending(threads)
            try:
                refused = self._take_all(files, intake, progress) if intake is not None else 0
                left = self._wait(threads, progress) if self._sender is not None else 0
            finally:
                if self._sender is not None:
                    self._sender.stop()
            if self._sending is not None:
                self._sending.result()
        self._lock.give_back()
        if left:
            self._console.print(f"{left} pictures still wait, safe in the spool: `eyestream device send` goes on.")
        return not refused and not left

    def _start_sending(self, threads: ThreadPoolExecutor) -> None:
        """Unless another process sends from this spool, in which case it sends ours as well."""
        if self._sender is not None and self._sending is None and self._lock.take():
            self._sending = threads.submit(self._sender.run)

    def _take_all(self, files: list[Path], intake: Intake, progress: Progress) -> int:
        taken: list[Taken] = []
        refused = 0
        for number, path in enumerate(progress.track(files, description="into the spool"), 1):
            try:
                taken.append(self._take(path, intake))
            except (Rejected, OSError) as error:
                refused += 1
                # A name may be a patient's: it is shown to a person, never to a log.
                name = str(path) if self._console.is_terminal else f"file {number} of {len(files)}"
                reason = error.reason if isinstance(error, Rejected) else type(error).__name__
                text = str(error) if isinstance(error, Rejected) else "The file cannot be read."
                self._console.print(f"refused: {name}: {reason}: {text}", markup=False, highlight=False)
                self._spool.count_refused(reason)
                continue
            self._mine.extend(taken[-1].image_ids)
        new, alone = sum(each.new for each in taken), sum(not each.exam_known for each in taken)
        known = len(self._mine) - new
        typer.echo(f"{len(files)} files: {new} new pictures, {known} known already, {refused} files refused")
        if alone:
            self._console.print(f"{alone} files belong to no exam that anything names: each is an exam of its own.")
        return refused

    def _take(self, path: Path, intake: Intake) -> Taken:
        while True:
            try:
                taken = intake.take(path)
            except DiskFull:
                if self._sender is None or time.monotonic() > self._deadline:
                    raise
                time.sleep(_POLL_S)  # the sender makes room
            else:
                if self._sender is not None:
                    self._sender.wake()
                return taken

    def _wait(self, threads: ThreadPoolExecutor, progress: Progress) -> int:
        """How many pictures still wait when time is up."""
        total = self._left()
        task = progress.add_task("to Kafka", total=total)
        while (left := self._left()) and time.monotonic() < self._deadline:
            progress.update(task, completed=total - left)
            if self._sending is not None and self._sending.done():
                break
            self._start_sending(threads)
            time.sleep(_POLL_S)
        progress.update(task, completed=total - left)
        return left

    def _left(self) -> int:
        return self._spool.depth().waiting if self._everything else self._spool.still_waiting(self._mine)


def files(paths: list[Path]) -> Iterator[Path]:
    """The files named, and those in the folders named, in order; sidecars and hidden files are left out."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for each in sorted(path.rglob("*")):
            if each.is_file() and not each.name.startswith(".") and each.suffix != ".json":
                yield each
