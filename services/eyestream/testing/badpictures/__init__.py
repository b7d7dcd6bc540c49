"""Messages that must end in the dead letters, each with its reason: for tests, drills and demonstrations.

Knows the message's format and nothing of the line. Every file and header can hold PLANTED where a patient's name could
stand, so that a test can look for it in what the line says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eyestream.records import ImageMeta
from eyestream.testing.badpictures.files import bad_files
from eyestream.testing.badpictures.headers import bad_headers, good_headers

__all__ = ["PLANTED", "BadPicture", "bad_pictures", "good_headers"]

PLANTED: Final = "Doe^Jane^19510203"
"""The patient whom nobody may ever read of."""


@dataclass(frozen=True, slots=True)
class BadPicture:
    """A message that cannot be screened, what is wrong with it, and the reason it must be refused for."""

    name: str
    value: bytes
    headers: Mapping[str, bytes]
    expected_reason: str


def bad_pictures(good_jpeg: bytes, meta: ImageMeta) -> list[BadPicture]:
    """One of each kind, in a fixed order; the same arguments give the same messages.

    `good_jpeg` is a baseline colour JPEG of at least 400 pixels a side and 20 kB. Where the value is bad the headers
    are good, with the value's own sha256 and an `image_id` of its own; where the headers are bad the value is the JPEG.
    """
    found = []
    for number, (name, value, reason) in enumerate(bad_files(good_jpeg, PLANTED)):
        own = {"sha256": hashlib.sha256(value).hexdigest(), "image_id": f"{meta.image_id[:50]}.file{number}"}
        headers = good_headers(meta.model_copy(update=own), "application/octet-stream")
        found.append(BadPicture(name, value, headers, reason))
    good = meta.model_copy(update={"sha256": hashlib.sha256(good_jpeg).hexdigest()})
    found += [BadPicture(name, good_jpeg, headers, reason) for name, headers, reason in bad_headers(good, PLANTED)]
    return found
