"""Vocabulary files that are not ours to ship: read as they come, and only when they are the right ones."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from eyestream.errors import Misconfigured
from eyestream.records import Digest

_GZIP = b"\x1f\x8b"


def lines(path: Path, *, sha256: str) -> list[str]:
    """The lines of a vocabulary, gzipped or not.

    `sha256` is that of its text with plain line ends, so that a file that went through Windows is still the same one.
    Raises Misconfigured when the file is missing or another: one token out of place moves every vector.
    """
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if content.startswith(_GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise Misconfigured(f"the vocabulary {path} cannot be read: {error}; it comes with the checkpoint") from None
    text = text.replace(b"\r\n", b"\n")
    found = digest(text)
    if found != sha256:
        raise Misconfigured(f"{path} is another vocabulary: sha256 {found}, and the model was trained with {sha256}")
    return text.decode().removesuffix("\n").split("\n")


def digest(text: bytes) -> Digest:
    """What names a vocabulary: the sha256 of its text with plain line ends."""
    return Digest(hashlib.sha256(text).hexdigest())
