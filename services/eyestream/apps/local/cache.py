"""Downloads and built environments shared by every checkout of this user. Knows neither Kafka nor Triton.

An entry is a folder whose name says all that went into it (a version, a lock's hash). It appears whole or not at all,
and is never changed afterwards, so that two checkouts side by side can use it without asking each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from eyestream.errors import Misconfigured


def default_cache() -> Path:
    """Where this user's caches belong: $XDG_CACHE_HOME/eyestream, else ~/.cache/eyestream."""
    base = os.environ.get("XDG_CACHE_HOME", "")  # noqa: TID251 - the desktop's rule for folders, not a setting of ours
    return (Path(base) if base else Path.home() / ".cache") / "eyestream"


@contextlib.contextmanager
def locked(file: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock while in the block; the kernel frees it when a holder dies.

    Waits for another holder as long as it takes, after calling `waiting` once. Raises Misconfigured where the file
    cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("a")
    except OSError as error:
        raise Misconfigured(
            f"nothing can be written into {file.parent} ({error.strerror}): let this user write there, or name another "
            "folder, of a stack with --state, of the downloads with XDG_CACHE_HOME"
        ) from None
    with opened as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def entry(cache: Path, name: str, build: Callable[[Path], None], *, say: Callable[[str], None]) -> Path:
    """The folder `name` in the cache, built by `build(folder)` the first time and only then.

    `build` fills an empty folder that is renamed into place once it returns; when it raises, nothing stays behind.
    """
    finished = cache / name
    if finished.is_dir():
        return finished
    with locked(cache / f"{name}.lock", waiting=lambda: say("waiting for another checkout that is preparing it")):
        if finished.is_dir():
            return finished
        scratch = cache / f"{name}.building"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            build(scratch)
            scratch.rename(finished)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return finished
