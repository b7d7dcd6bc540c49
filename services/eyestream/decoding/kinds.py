"""What kind of file some bytes are, by their first few, and what a sender may call it. Knows no more of any format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from eyestream.decoding.refusals import refuse

Kind = Literal["jpeg", "png", "tiff", "dicom"]

CONTENT_TYPES: Final[Mapping[str, str | None]] = {
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "image/png": "png",
    "image/tiff": "tiff",
    "application/dicom": "dicom",
    "application/octet-stream": None,
}
"""What a sender may say of the value; None claims nothing."""

NAMES: Final = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "dicom": "DICOM"}

_DICOM_PREAMBLE: Final = 128
_BRANDS: Final = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
_OTHERS: Final = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
)


def kind_of(value: bytes, content_type: str | None = None) -> Kind:
    """The kind, Rejected when it is none that is screened or not the one `content_type` claims."""
    kind = _sniff(value)
    claimed = CONTENT_TYPES.get(plain_content_type(content_type)) if content_type else None
    if claimed is not None and claimed != kind:
        raise refuse("content-type-mismatch", kind=NAMES[kind])
    return kind


def plain_content_type(text: str) -> str:
    """In lower case and without parameters."""
    return text[:128].partition(";")[0].strip().lower()


def _sniff(value: bytes) -> Kind:
    if value[_DICOM_PREAMBLE : _DICOM_PREAMBLE + 4] == b"DICM":
        return "dicom"  # first, because a DICOM file's preamble may itself look like a TIFF
    if value.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if value.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if value[:4] in {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}:
        return "tiff"
    raise _other(value)


def _other(value: bytes) -> Exception:
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return refuse("unsupported-kind", kind="WebP")
    if value[4:8] == b"ftyp" and value[8:12] in _BRANDS:
        return refuse("unsupported-kind", kind=_BRANDS[value[8:12]])
    for magic, name in _OTHERS:
        if value.startswith(magic):
            return refuse("unsupported-kind", kind=name)
    return refuse("not-a-picture")
