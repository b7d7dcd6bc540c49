"""Files that are there whole or not at all, and stay there when the power goes. Nothing here knows what is in them."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: a reader, or a crash at any moment, sees the old file or the new one.

    On the disk when it returns, with its folder, which has to be there and may have just been made.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)
    with contextlib.suppress(PermissionError):  # somebody else's, in which we cannot have made the folder
        _sync(path.parent.parent)


def _sync(folder: Path) -> None:
    """Make a new name in the folder survive a power cut; needed on POSIX besides syncing the file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
