"""How much one picture may ask for, checked on what its header claims before anything is allocated.

Knows no format.
"""

from __future__ import annotations

from dataclasses import dataclass

from eyestream.decoding.refusals import refuse

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one picture; a picture beyond one is Rejected with a reason of its own.

    The defaults leave room for every fundus camera sold (the largest make about 50 megapixels) and keep a picture's
    decoding below `max_memory` bytes whatever its file claims. `max_scans` bounds the time of a progressive JPEG,
    each of whose scans walks the whole picture.
    """

    max_bytes: int = 64 * _MIB
    max_pixels: int = 120_000_000
    max_side: int = 20_000
    min_side: int = 32
    max_frames: int = 1
    max_scans: int = 64
    max_memory: int = 512 * _MIB

    def check_bytes(self, size: int) -> None:
        """The file's own size."""
        if size == 0:
            raise refuse("empty")
        if size > self.max_bytes:
            raise refuse("too-many-bytes", size=size, limit=self.max_bytes)

    def check_size(self, height: int, width: int) -> None:
        """The claimed size in pixels."""
        if height <= 0 or width <= 0:
            raise refuse("no-pixels")
        if max(height, width) > self.max_side:
            raise refuse("too-long-side", height=height, width=width, limit=self.max_side)
        if height * width > self.max_pixels:
            raise refuse("too-many-pixels", height=height, width=width, limit=self.max_pixels)
        if min(height, width) < self.min_side:
            raise refuse("too-small", height=height, width=width, limit=self.min_side)

    def check_frames(self, frames: int) -> None:
        """How many pictures the file holds."""
        if frames > self.max_frames:
            raise refuse("too-many-frames", frames=frames, limit=self.max_frames)

    def check_scans(self, scans: int) -> None:
        """How often a JPEG's decoder would walk the picture."""
        if scans > self.max_scans:
            raise refuse("too-many-scans", scans=scans, limit=self.max_scans)

    def check_memory(self, size: int) -> None:
        """What a reader is about to allocate, by its own estimate."""
        if size > self.max_memory:
            raise refuse("too-much-memory", size=size // _MIB, limit=self.max_memory // _MIB)
