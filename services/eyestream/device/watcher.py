"""A folder that a camera writes to: each new file is taken once it is whole, and put aside. Knows no file format.

The file system's events only make it quicker: network shares send none, so the folder is looked through regularly too.
A file's name may be a patient's, so no name is ever logged.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from eyestream.device.labels import has_sidecar, sidecar_of
from eyestream.errors import Rejected, Unavailable
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

SENT: Final = "sent"
REFUSED: Final = "refused"
_NOT_PICTURES: Final = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".json")
_SYSTEM_FILES: Final = frozenset({"thumbs.db", "desktop.ini"})
_SHORTEST_WAIT_S: Final = 0.1
_LONGEST_NAME: Final = 240
"""Bytes of a name that still has room for a number and another extension; file systems end at 255."""


class FileMemory(Protocol):
    """Knows files that are done with where they may not be moved; outlives the process."""

    def knows(self, path: Path) -> bool:
        """Whether this file, as it is now, is done with."""
        ...

    def remember(self, path: Path) -> None:
        """This file, as it is now, is done with."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """When a file is whole, and how often one looks.

    A file is whole when it did not change for `settle_s` and can be read; one that cannot be is refused when it did not
    change for `patience_s`, as a slow copy may pause. `rescan_s` is how often the folder is looked through,
    `retry_s` how long a full spool or an unreadable file is left alone. With `wait_for_sidecar` a picture is taken
    only once its sidecar is there.
    """

    settle_s: float = 2.0
    patience_s: float = 15.0
    rescan_s: float = 10.0
    retry_s: float = 10.0
    wait_for_sidecar: bool = False


@dataclass(slots=True)
class _Sighting:
    """A file as it was last seen: when it became so, and when it may be tried."""

    shape: tuple[int, int]
    since: float
    try_at: float


class FolderWatcher:
    """Hands each whole file of the folder, subfolders included, to `take`, oldest first.

    A file that was taken is moved to `sent/`, a refused one to `refused/` with its reason beside it; with a `memory`
    all stay where they are and are remembered. When `take` raises Unavailable the file stays and is tried again. `take`
    is safe to repeat, so a crash at any point only means that.
    """

    def __init__(
        self,
        folder: Path,
        take: Callable[[Path], object],
        *,
        habits: Habits | None = None,
        memory: FileMemory | None = None,
        refused: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._take = take
        self._habits = habits or Habits()
        self._memory = memory
        self._refused = refused
        self._clock = clock
        self._sightings: dict[Path, _Sighting] = {}
        self._wake = threading.Event()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Watch until `stop`. Blocks."""
        observer = self._observe()
        try:
            while not self._stopped.is_set():
                self._wake.clear()
                wait_s = self.scan()
                self._wake.wait(wait_s)
                # A camera's burst of events is one look.
                self._stopped.wait(_SHORTEST_WAIT_S)
        finally:
            if observer is not None:
                observer.stop()
                observer.join()

    def stop(self) -> None:
        """Let `run` end soon."""
        self._stopped.set()
        self._wake.set()

    def scan(self) -> float:
        """Look through the folder once and take what is whole; how many seconds until it is worth another look."""
        now = self._clock()
        files = dict(self._files())
        self._sightings = {path: seen for path, seen in self._sightings.items() if path in files}
        for path, shape in files.items():
            seen = self._sightings.get(path)
            if seen is None or seen.shape != shape:
                self._sightings[path] = _Sighting(shape, now, now + self._habits.settle_s)
        for path in sorted(files, key=lambda path: files[path][1]):
            if self._sightings[path].try_at <= now and _shape(path) == files[path] and not self._try(path, now):
                break
        waits = [seen.try_at - now for seen in self._sightings.values()]
        return max(_SHORTEST_WAIT_S, min([self._habits.rescan_s, *waits]))

    def _files(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        """Every file that may be a picture, with its size and time of change."""
        for parent, folders, names in os.walk(self._folder, onerror=_cannot_look):
            here = Path(parent)
            apart = {SENT, REFUSED} if here == self._folder else set()
            folders[:] = [name for name in folders if name not in apart and not name.startswith(".")]
            for name in names:
                lower = name.lower()
                if name.startswith((".", "~")) or lower.endswith(_NOT_PICTURES) or lower in _SYSTEM_FILES:
                    continue
                path = here / name
                shape = _shape(path)
                try:
                    if shape is not None and self._is_wanted(path):
                        yield path, shape
                except OSError as error:
                    _cannot_look(error)

    def _is_wanted(self, path: Path) -> bool:
        """Whether it is a file, not done with, and has what it must have beside it."""
        if path.is_symlink() or not path.is_file() or self._remembers(path):
            return False
        return not self._habits.wait_for_sidecar or has_sidecar(path)

    def _remembers(self, path: Path) -> bool:
        """Whether the file is done with, though it stays; or gone by now, which its memory cannot know."""
        try:
            return self._memory is not None and self._memory.knows(path)
        except FileNotFoundError:
            return True

    def _try(self, path: Path, now: float) -> bool:
        """Take one file; False when no other can be taken now either."""
        seen = self._sightings[path]
        try:
            self._take(path)
        except Rejected as rejection:
            if now - seen.since < self._habits.patience_s:
                seen.try_at = seen.since + self._habits.patience_s
                return True
            self._put_aside(path, REFUSED, rejection)
        except Unavailable as error:
            for each in self._sightings.values():
                each.try_at = max(each.try_at, now + self._habits.retry_s)
            log.warning(str(error), extra={"action": Verb.RETRIED, "part": error.part})
            return False
        except OSError as error:
            seen.try_at = now + self._habits.retry_s
            log.warning("cannot read a file", extra={"action": Verb.RETRIED, "reason": type(error).__name__})
        else:
            self._put_aside(path, SENT, None)
        return True

    def _put_aside(self, path: Path, where: str, rejection: Rejected | None) -> None:
        """Move the file and its sidecar out of the way, or remember it.

        Many cameras write under one name again and again: a file that is another by now is another picture, and stays.
        """
        seen = self._sightings[path]
        if _shape(path) != seen.shape:
            return
        del self._sightings[path]
        if rejection is not None:
            log.warning("refused a file", extra={"action": Verb.REFUSED, "reason": rejection.reason})
        try:
            if self._memory is not None:
                self._memory.remember(path)
            else:
                self._move(path, where, rejection)
            if rejection is not None:
                self._refused(rejection.reason)
        except (OSError, Unavailable) as error:
            # It stays and is tried again, which changes nothing but time.
            seen.try_at = self._clock() + self._habits.retry_s
            self._sightings[path] = seen
            log.warning("cannot put a file aside", extra={"action": Verb.RETRIED, "reason": type(error).__name__})

    def _move(self, path: Path, where: str, rejection: Rejected | None) -> None:
        target = _free_name(self._folder / where / path.relative_to(self._folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        if rejection is not None:
            # The reason first: a refused file without one would be a riddle.
            reason = f"{rejection.reason}\n{rejection.explanation}\n"
            target.with_name(target.name + ".txt").write_text(reason, encoding="utf-8")
        # The sidecar first, and back again: one that stayed alone would label the next picture of this name.
        labelled = has_sidecar(path)
        if labelled:
            sidecar_of(path).replace(sidecar_of(target))
        try:
            path.replace(target)
        except OSError:
            if labelled:
                sidecar_of(target).replace(sidecar_of(path))
            raise

    def _observe(self) -> Any:
        """The file system's own events, where there are any."""
        watcher = self

        class Waker(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                # Not "opened": looking through the folder opens it, and would never rest.
                if event.event_type in {"created", "modified", "moved", "closed"}:
                    watcher._wake.set()

        observer = Observer()
        try:
            observer.schedule(Waker(), str(self._folder), recursive=True)
            observer.start()
        except OSError as error:
            log.warning("no events from this folder", extra={"action": Verb.STARTED, "reason": type(error).__name__})
            return None
        return observer


def _cannot_look(error: OSError) -> None:
    """Its pictures wait; were nothing said, a share that went away would look like a clinic without patients."""
    log.warning("cannot look into a folder", extra={"action": Verb.RETRIED, "reason": type(error).__name__})


def _shape(path: Path) -> tuple[int, int] | None:
    """The file's size and time of change, by which one is known from the next of its name; None when it is gone."""
    try:
        state = path.lstat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _free_name(path: Path) -> Path:
    """The path, or with a number before its extension when it is taken: nothing is ever overwritten.

    A name that leaves no room for that, or for `.json` or `.txt` behind it, is cut.
    """
    path = path.with_name(_cut(path.stem, max(1, _LONGEST_NAME - len(os.fsencode(path.suffix)))) + path.suffix)
    number = 1
    free = path
    while free.exists() or has_sidecar(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _cut(text: str, size: int) -> str:
    """At most so many bytes of the text, and no character in part."""
    whole = os.fsencode(text)
    return text if len(whole) <= size else whole[:size].decode(errors="ignore")
