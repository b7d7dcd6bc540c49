"""Download a checkpoint: `fetch.py URL FILE`.

http and https need nothing but Python; any other URL that fsspec reads needs its store's package in the image.
"""  # noqa: INP001  # a ConfigMap holds it

from __future__ import annotations

import shutil
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import BinaryIO

CHUNK = 8 * 2**20
SILENCE_S = 60.0


def download(url: str, target: BinaryIO) -> None:
    """The whole of what the URL names, or an error."""
    if urllib.parse.urlsplit(url).scheme in {"http", "https"}:
        with urllib.request.urlopen(url, timeout=SILENCE_S) as source:  # noqa: S310  # the values name it
            shutil.copyfileobj(source, target, CHUNK)
            missing = source.length
        if missing:
            raise EOFError(f"it ended {missing} bytes early")
        return
    import fsspec

    with fsspec.open(url, "rb") as source:
        shutil.copyfileobj(source, target, CHUNK)


url, file = sys.argv[1:]
parts = urllib.parse.urlsplit(url)
told = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"  # a signature or a password may stand in the rest
try:
    with Path(file).open("wb") as opened:
        download(url, opened)
except ImportError as error:
    sys.exit(f"eyestream: {told} needs a package that images.engines has not: {error}")
except Exception as error:  # noqa: BLE001  # every store has errors of its own
    sys.exit(f"eyestream: {told} cannot be downloaded: {type(error).__name__}: {error}")
