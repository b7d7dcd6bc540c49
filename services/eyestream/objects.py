"""Pictures too large for a message, kept in an object store and fetched by reference; knows neither Kafka nor pictures.

Every call blocks: the line makes it in a thread. What a reference may point to is the operator's choice alone, because
whoever can write to the topic chooses the reference: anything outside the allowed prefixes is refused unread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from eyestream import durable
from eyestream.errors import EyestreamError, Misconfigured, Rejected, Unavailable

SCHEMES: Final = frozenset({"file", "memory", "s3", "gs", "abfs"})
"""Stores that answer from where they are asked. HTTP is not among them: it can redirect anywhere."""

_PLAIN: Final = re.compile(r"[a-z0-9]+://[A-Za-z0-9._/@+=,~ -]+")
_LONGEST: Final = 1024
"""Bytes of an object's name, in every one of these stores. What they say of a longer one sounds like trouble of their
own, which is waited for."""
_STAGE: Final = "reference"
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What a name that no file has is answered with. Whoever writes the reference chooses it, so none may be waited for."""


def put(store_url: str, data: bytes, *, sha256: str) -> str:
    """Keep the bytes under a name made of their sha256 and return the reference to fetch them by.

    Durable when it returns, and never half there: bytes are written under another name and moved. Putting the same
    bytes again, also at the same time from elsewhere, changes nothing. Raises Unavailable when the store is away; a
    folder has to be there, because one that is made where a disk should be mounted is hidden by the disk.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        msg = "the sha256 is not that of the data"
        raise ValueError(msg)
    name = reference(store_url, sha256)
    with _store_errors(name, _store_away("a folder went while it was written")):
        if name.startswith("file://"):
            root = Path(_prefix(store_url).removeprefix("file://"))
            _put_file(Path(name.removeprefix("file://")), root, data)
        else:
            _put_object(name, data)
    return name


def reference(store_url: str, sha256: str) -> str:
    """What bytes of that sha256 are called in the store, whether or not they are there."""
    return f"{_prefix(store_url)}{sha256[:2]}/{sha256}"


def fetch(reference: str, *, sha256: str, max_bytes: int, allowed: Sequence[str]) -> bytes:
    """The bytes behind the reference, checked against their sha256.

    `allowed` holds the prefixes, URLs or absolute folders, below which a reference may point; symbolic links count
    where they lead. Raises Unavailable when the store is away, which an empty one is taken for, because pictures are
    stored before they are referred to; Rejected at stage `reference` otherwise:
    `reference-not-allowed` (nothing was opened), `reference-missing`, `too-many-bytes`, `checksum-mismatch`.
    """
    prefix = _allowed_prefix(reference, [_prefix(store) for store in allowed])
    with _store_errors(reference, _missing()):
        if prefix.startswith("file://"):
            data = _read_file(Path(reference.removeprefix("file://")), Path(prefix.removeprefix("file://")), max_bytes)
        else:
            data = _read_object(reference, prefix, max_bytes)
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Rejected("checksum-mismatch", "The referenced object is not the picture that was sent.", stage=_STAGE)
    return data


def _prefix(store: str) -> str:
    """The store as a URL that ends in a slash, so that `s3://eyes` does not allow `s3://eyes-of-others`."""
    url = store if "://" in store else f"file://{Path(store).expanduser().resolve()}"
    url = url.rstrip("/") + "/"
    scheme = url.split("://", 1)[0]
    if scheme not in SCHEMES:
        raise Misconfigured(f"object stores are one of {', '.join(sorted(SCHEMES))}, not {scheme}://")
    if not _is_plain(url):
        raise Misconfigured("an object store's URL has no '..', query, escape or chain")
    return url


def _is_plain(url: str) -> bool:
    parts = url.split("://", 1)[-1].split("/")
    return bool(_PLAIN.fullmatch(url)) and not {".", ".."}.intersection(parts) and "" not in parts[1:-1]


def _allowed_prefix(reference: str, prefixes: Sequence[str]) -> str:
    if _is_plain(reference) and not reference.endswith("/"):
        for prefix in prefixes:
            if reference.startswith(prefix):
                return prefix
    raise _not_allowed()


def _not_allowed() -> Rejected:
    text = "The reference points outside the object stores this line may read; list the store in its settings."
    return Rejected("reference-not-allowed", text, stage=_STAGE)


def _too_large(max_bytes: int) -> Rejected:
    return Rejected("too-many-bytes", f"The referenced object is larger than {max_bytes} bytes.", stage=_STAGE)


def _missing() -> Rejected:
    text = "The referenced object is not in its store; send the picture again."
    return Rejected("reference-missing", text, stage=_STAGE)


def _put_file(path: Path, root: Path, data: bytes) -> None:
    if not root.is_dir():
        # Made here, it would lie under the place of a disk that is to come, and hide all that was put in it.
        raise _store_away("its folder is not there; make it, or mount its disk")
    if path.is_file() and path.stat().st_size == len(data):
        return
    path.parent.mkdir(exist_ok=True)
    durable.write(path, data)


def _put_object(reference: str, data: bytes) -> None:
    filesystem, path = _filesystem(reference)
    if filesystem.exists(path) and filesystem.size(path) == len(data):
        return
    part = f"{path}.{secrets.token_hex(6)}.part"
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    filesystem.pipe_file(part, data)
    filesystem.mv(part, path)


def _read_file(path: Path, root: Path, max_bytes: int) -> bytes:
    with _opened(root) as store:
        try:
            return _read_below(path, root, max_bytes)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            # A disk can go between any two questions, and a picture must not be refused for that: the handle stays
            # with the folder that answered first, so what it still shows was there all along.
            if _shows(path.relative_to(root), store):
                raise _store_away("its folder was moved while it was read") from None
            if _is_empty(store):
                raise _store_away("its folder is empty; is the disk mounted?") from None
            raise _missing() from error


def _read_below(path: Path, root: Path, max_bytes: int) -> bytes:
    real = Path(os.path.realpath(path, strict=True))
    if not real.is_relative_to(os.path.realpath(root, strict=True)):
        raise _not_allowed()
    if not real.is_file():
        raise FileNotFoundError(errno.ENOENT, "not a file", str(real))
    with real.open("rb") as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(max_bytes)
        return file.read(max_bytes + 1)


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[int]:
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _store_away("its folder is not there; is the disk mounted?") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _shows(name: Path, store: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=store).st_mode)
    except OSError:
        return False


def _is_empty(store: int) -> bool:
    with os.scandir(store) as entries:
        return next(entries, None) is None


def _store_away(why: str) -> Unavailable:
    return Unavailable("object store", why)


def _read_object(reference: str, prefix: str, max_bytes: int) -> bytes:
    if len(reference) > _LONGEST:
        raise _missing()
    filesystem, path = _filesystem(reference)
    try:
        size = filesystem.info(path).get("size")
    except FileNotFoundError:
        if not filesystem.exists(_filesystem(prefix.rstrip("/"))[1]):
            raise _store_away("nothing is there; is that its name?") from None
        raise
    if size is not None and size > max_bytes:
        raise _too_large(max_bytes)
    if size == 0:
        return b""  # of which S3 gives no range: to ask for one would be answered with an error
    data: bytes = filesystem.cat_file(path, start=0, end=max_bytes + 1)
    return data


def _filesystem(reference: str) -> tuple[Any, str]:
    """A client of the store and the object's path in it. fsspec keeps clients, so this is cheap the second time."""
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(reference)
    except (ImportError, ValueError) as error:
        scheme = reference.split("://", 1)[0]
        raise Misconfigured(f"{scheme}:// needs the fsspec package for it (s3fs, gcsfs, adlfs): {error}") from error
    filesystem.invalidate_cache()
    return filesystem, path


@contextlib.contextmanager
def _store_errors(reference: str, missing: EyestreamError) -> Iterator[None]:
    try:
        yield
    except EyestreamError:
        raise
    except FileNotFoundError as error:
        raise missing from error
    except Exception as error:
        # A store's client raises errors of its own library; none of them is the picture's fault, and waiting loses
        # nothing. For files the operating system's errors are the whole list.
        if reference.startswith("file://") and not isinstance(error, OSError):
            raise
        raise Unavailable("object store", type(error).__name__) from error
