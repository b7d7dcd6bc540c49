"""A model's folder in Triton's repository: whole, or not there. Knows files and locks, not what is in them.

A build writes into a staging folder inside the repository, two levels down, where no server looks; publishing exchanges
it with the folder in service in one step of the file system. Whatever a killed build leaves is swept by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from eyestream.errors import Misconfigured, Unavailable

MANIFEST: Final = "manifest.json"
_STAGING: Final = ".building"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""Of a model: one folder's, of no other place (`..`, `a/b`), and none that a lock or an old model has (`a.lock`)."""
_LOCKLESS: Final = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""What shared file systems without locks answer; there the chart's scripts see to it that one pod builds."""
_EXCHANGE: Final = 2
_HERE: Final = -100


@contextlib.contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """An empty folder to build the model in; gone afterwards. Waits for another build of the same model to end.

    Raises Unavailable when the disk is full. Raises Misconfigured when the repository cannot be written, when no model
    can have that name, and when one has it that is none of ours: publishing would take it away.
    """
    if not _NAME.fullmatch(name):
        raise Misconfigured(f"no model can be named {name!r}: take up to 63 letters, digits, - and _, no mark first")
    place = repository / _STAGING
    try:
        with _locked(place / f"{name}.lock"):
            _require_ours(repository / name)
            folder = place / name
            _sweep(folder)
            folder.mkdir()
            try:
                yield folder
            finally:
                _sweep(folder)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Unavailable(
                "disk", f"{repository} is full: nothing was published; make room and build again"
            ) from None
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST}:
            # What is built may need other folders, a compiler's cache say: the fault is told of the one that has it.
            raise Misconfigured(f"{error.filename or repository} cannot be written: {error.strerror}") from None
        raise


def publish(folder: Path, repository: Path, name: str, facts: Mapping[str, Any]) -> Path:
    """Write the manifest, with the sha256 of every file, and put the folder in its place; returns that place.

    A model that was there goes on being whole until the very moment.
    """
    told = dict(facts) | {"files": hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    for path in (*sorted(folder.rglob("*"), reverse=True), folder):
        _sync(path)
    final = repository / name
    if final.exists():
        _exchange(folder, final)
    else:
        folder.rename(final)
    _sync(repository)
    return final


def manifest(repository: Path, name: str) -> dict[str, Any] | None:
    """What was published under that name; None when nothing was, or not by us."""
    try:
        told = json.loads((repository / name / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def intact(repository: Path, name: str) -> bool:
    """Whether the published files are those of the manifest, byte for byte."""
    told = manifest(repository, name)
    return told is not None and told.get("files") == hashes(repository / name)


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file but the manifest, by its path inside the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock; it and its folder are gone afterwards, for a server may take any folder for a model."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held, contextlib.suppress(FileNotFoundError):
            lock = held.enter_context(path.open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _LOCKLESS:
                    raise
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):  # else its holder took it away meanwhile
                kept = held.pop_all()
                break
    with kept:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _require_ours(model: Path) -> None:
    """Of a folder that somebody else made nothing would be left; a link gives way, and what it leads to stays."""
    if model.is_symlink() or not model.is_dir() or not any(model.iterdir()) or (model / MANIFEST).exists():
        return
    config = model / "config.pbtxt"  # the demonstration's engine lies in the repository with that alone
    if not config.is_file() or b"eyestream.digest" not in config.read_bytes():
        raise Misconfigured(f"{model} is there, and is no engine of eyestream's: move it away, or take another --name")


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders at once (renameat2); where the kernel or the file system cannot, in two steps."""
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "renameat2", None)
    if call is not None and call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    old = one.with_name(f"{one.name}.old")
    _sweep(old)
    other.rename(old)
    one.rename(other)
    _sweep(old)


def _sweep(path: Path) -> None:
    """Take away a folder, or the file or link that a new model was exchanged with; never where a link leads."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
