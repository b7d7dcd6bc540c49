"""One picture of a file, stripped of everything but its pixels, and what its file said of it; knows no file format."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eyestream.errors import Rejected
from eyestream.records import Laterality, Modality, RetinalField

STAGE: Final = "device"
MAX_PIXELS: Final = 80_000_000
"""The largest picture a device sends: four times the largest of today's fundus cameras."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Frame:
    """A picture ready to send: its bytes hold pixels and how to read them, nothing else.

    What the file said is None where it said nothing. `exam_id` and `subject_id` are pseudonyms already. `index` is
    the frame's place in its file, `orientation` the EXIF value that was taken out of it.
    """

    data: bytes
    content_type: str
    index: int = 0
    orientation: int = 1
    captured_at: dt.datetime | None = None
    laterality: Laterality | None = None
    modality: Modality | None = None
    field: RetinalField | None = None
    exam_id: str | None = None
    subject_id: str | None = None


def refused(reason: str, explanation: str) -> Rejected:
    """This file is not sent; the explanation holds nothing the file said."""
    return Rejected(reason, explanation, stage=STAGE)


def check_size(width: int, height: int) -> None:
    """Raises Rejected when a picture is empty or absurdly large, before anything is allocated for it."""
    if width < 1 or height < 1:
        raise refused("no-pixels", "The picture has no width or no height; export it again.")
    if width * height > MAX_PIXELS:
        raise refused("too-many-pixels", f"The picture has more than {MAX_PIXELS // 1_000_000} million pixels.")


@contextlib.contextmanager
def quiet_parsers() -> Iterator[None]:
    """Silence what image libraries warn and log: they quote the values they stumble on, and those can be names."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "PIL")]
    before = [logger.level for logger in loggers]
    children = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.startswith(("pydicom.", "PIL.")) and isinstance(logger, logging.Logger)
    ]
    before += [logger.level for logger in children]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in (*loggers, *children):
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip((*loggers, *children), before, strict=True):
                logger.setLevel(level)
