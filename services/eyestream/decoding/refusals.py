"""Every reason for which a message or its picture is refused, each with the sentence a person reads.

Knows no format and no library. A sentence is filled with sizes, limits and names of our own fields only, never with
anything that came in the message: it is copied into dead letters, logs and dashboards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eyestream.errors import Rejected

META: Final[Mapping[str, str]] = {
    "missing-meta": (
        "The message has no eyestream-meta header: send it through `eyestream device send`, or set the header."
    ),
    "meta-too-large": (
        "The eyestream-meta header has {size} bytes where {limit} are allowed: send only the documented fields."
    ),
    "meta-not-json": ("The eyestream-meta header is not one JSON object in UTF-8: check the program that writes it."),
    "unknown-schema": (
        "The metadata has a schema version that this line does not read: it reads version {known}, so "
        "upgrade the line or the device."
    ),
    "invalid-meta": "The metadata's {field} is not acceptable: {hint}.",
    "unknown-content-type": (
        "The content-type header names a kind of file that is not screened: send JPEG, PNG, TIFF or DICOM."
    ),
    "checksum-mismatch": (
        "The picture's bytes do not have the sha256 that the device wrote down: they changed on the "
        "way, so send the picture again."
    ),
}
"""Stage `meta`: found in the headers, or by holding the value against them."""

DECODING: Final[Mapping[str, str]] = {
    "empty": "The message holds no bytes: the file was empty when it was sent, so send the picture again.",
    "too-many-bytes": (
        "The file has {size} bytes where {limit} are allowed: export the picture smaller, or raise the limit."
    ),
    "not-a-picture": "The bytes are not a JPEG, PNG, TIFF or DICOM file: check what the device exports.",
    "unsupported-kind": ("The file is {kind}, which is not screened: export the picture as JPEG, PNG, TIFF or DICOM."),
    "content-type-mismatch": ("The file is {kind} but its content-type header says otherwise: correct the sender."),
    "no-pixels": "The picture says that it is zero pixels high or wide: export it again.",
    "too-small": (
        "The picture is {height} by {width} pixels, too small to be an eye: at least {limit} each way are needed."
    ),
    "too-long-side": ("The picture is {height} by {width} pixels and no side may exceed {limit}: export it smaller."),
    "too-many-pixels": (
        "The picture is {height} by {width} pixels and only {limit} in all are allowed: export it smaller."
    ),
    "too-much-memory": (
        "Decoding the picture would take about {size} MiB where {limit} are allowed: export it smaller "
        "or as baseline JPEG."
    ),
    "too-many-frames": (
        "The file holds {frames} pictures where {limit} may be screened: send each picture as a file of its own."
    ),
    "too-many-scans": ("The progressive JPEG has {scans} scans where {limit} are allowed: export it as baseline JPEG."),
    "truncated": "The file ends before the picture does: it was cut off, so send it again from the device.",
    "damaged": "The file's structure or its compressed data are damaged: send it again from the device.",
    "cmyk": "The picture is in CMYK, a printer's colours: export it in RGB.",
    "bit-depth": (
        "The picture has {bits} bits per sample, and how to scale them is not known: export 8 bits, or DICOM."
    ),
    "transparent": (
        "The picture is transparent in places, so pixels may be missing: export it without an alpha channel."
    ),
    "unsupported-jpeg": ("The JPEG is lossless, arithmetic-coded or of another rare kind: export it as baseline JPEG."),
    "unsupported-tiff": (
        "The TIFF uses {feature}, which is not read: export it uncompressed, LZW or deflate, in grey or RGB."
    ),
    "unsupported-dicom": (
        "The DICOM file uses {feature}, which is not read: export it uncompressed, JPEG or JPEG 2000."
    ),
    "no-picture-in-dicom": "The DICOM file holds no pixel data: send the object that holds the photograph.",
}
"""Stage `decoding`: found in the file."""


def refuse(reason: str, **facts: str | int) -> Rejected:
    """The Rejected for `reason`, its sentence filled with `facts`. An unknown reason is a KeyError, a bug."""
    if reason in META:
        return Rejected(reason, META[reason].format(**facts), stage="meta")
    return Rejected(reason, DECODING[reason].format(**facts), stage="decoding")
