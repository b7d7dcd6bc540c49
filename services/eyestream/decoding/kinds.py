"""What kind of file some bytes are, by their first few. Knows no more of any format."""

from __future__ import annotations

from typing import Final, Literal

from eyestream.decoding.meta import CONTENT_TYPES
from eyestream.decoding.refusals import refuse

Kind = Literal["jpeg", "png", "tiff", "dicom"]

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
    claimed = CONTENT_TYPES.get(content_type) if content_type else None
    if claimed is not None and claimed != kind:
        raise refuse("content-type-mismatch", kind=NAMES[kind])
    return kind


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
