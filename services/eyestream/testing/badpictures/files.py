"""Files that are no screenable picture, each with the reason it must be refused for."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from eyestream.testing.badpictures import forge

File = tuple[str, bytes, str]
"""Name, bytes, expected reason."""

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def bad_files(good: bytes, planted: str) -> Iterator[File]:
    """Every kind, made from a good JPEG; `planted` stands wherever a file can hold a patient's name."""
    yield from _cut_off(good)
    yield from _other_things(planted)
    yield from _jpegs(good)
    yield from _pngs(good, planted)
    yield from _tiffs()
    yield from _dicoms(good, planted)


def _cut_off(good: bytes) -> Iterator[File]:
    scan = good.rindex(b"\xff\xda")
    yield "zero bytes", b"", "empty"
    yield "three bytes", good[:3], "truncated"
    yield "cut inside the header", good[: scan // 2], "truncated"
    yield "cut before the scan", good[:scan], "truncated"
    yield "cut at a quarter of the scan", good[: scan + (len(good) - scan) // 4], "truncated"
    yield "cut in the middle of the scan", good[: (scan + len(good)) // 2], "truncated"
    yield "cut by its last kilobyte", good[:-1024], "truncated"
    yield "without the end marker", good[:-2], "truncated"
    yield "cut by its last byte", good[:-1], "truncated"
    progressive = _again(good, "JPEG", progressive=True)
    yield "progressive, cut after half its scans", progressive[: len(progressive) // 2], "truncated"
    middle = (scan + len(good)) // 2
    yield "ended early and padded", good[:middle] + b"\xff\xd9" + b"\x00" * (len(good) - middle), "damaged"
    yield "a hole of zeros in the scan", good[:middle] + b"\xff\xd0" * 600 + good[middle + 1200 :], "damaged"
    yield "half of the file and a second start", good[:middle] + good[:middle], "damaged"


def _other_things(planted: str) -> Iterator[File]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as inside:
        inside.writestr(zipfile.ZipInfo(f"{planted}.jpg"), b"no picture")
    yield "a text", f"Patient {planted}: see attached".encode(), "not-a-picture"
    yield "an HTML error page", f"<!DOCTYPE html><title>{planted}</title>".encode(), "not-a-picture"
    yield "JSON", b'{"picture": "none"}', "not-a-picture"
    yield "zeros", b"\x00" * 4096, "not-a-picture"
    yield "random bytes", np.random.default_rng(7).bytes(4096), "not-a-picture"
    yield "a ZIP archive", archive.getvalue(), "unsupported-kind"
    yield "a gzip bomb", gzip.compress(b"\x00" * 2**22, mtime=0), "unsupported-kind"
    yield "a PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "unsupported-kind"
    noise = [Image.fromarray(frame) for frame in np.random.default_rng(8).integers(0, 255, (3, 64, 64, 3), np.uint8)]
    for kind in ("GIF", "WEBP", "BMP"):
        yield f"a {kind}", _saved(noise[0], kind), "unsupported-kind"
    for kind in ("GIF", "WEBP"):
        yield f"an animated {kind}", _saved(noise[0], kind, save_all=True, append_images=noise[1:]), "unsupported-kind"
    yield "an animated PNG", _saved(noise[0], "PNG", save_all=True, append_images=noise[1:]), "too-many-frames"
    yield "an HEIC", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "unsupported-kind"
    yield "a bare JPEG 2000 file", b"\x00\x00\x00\x0cjP  \r\n\x87\n", "unsupported-kind"


def _jpegs(good: bytes) -> Iterator[File]:
    yield "a CMYK JPEG", _saved(_opened(good).convert("CMYK"), "JPEG"), "cmyk"
    yield "a JPEG of absurd dimensions", forge.jpeg(65535, 65535), "too-long-side"
    yield "a JPEG of too many pixels", forge.jpeg(19000, 19000), "too-many-pixels"
    yield "a JPEG of zero height", forge.jpeg(0, 640), "no-pixels"
    yield "a JPEG of eight pixels", _saved(_opened(good).resize((8, 8)), "JPEG"), "too-small"
    yield "a JPEG of 12 bits", forge.jpeg(480, 640, bits=12, process=0xC1), "bit-depth"
    yield "a lossless JPEG", forge.jpeg(480, 640, process=0xC3), "unsupported-jpeg"
    yield "an arithmetic-coded JPEG", forge.jpeg(480, 640, process=0xC9), "unsupported-jpeg"
    yield "a JPEG of two components", forge.jpeg(480, 640, components=2), "unsupported-jpeg"
    yield "a progressive JPEG of a thousand scans", forge.jpeg(8000, 8000, process=0xC2, scans=1000), "too-many-scans"
    yield "a progressive JPEG that would fill the memory", forge.jpeg(10900, 10900, process=0xC2), "too-much-memory"
    yield "a JPEG whose scan is empty", forge.jpeg(480, 640), "damaged"
    yield "a JPEG without a frame", b"\xff\xd8" + forge.segment(0xDA, b"\x01\x01\x00\x00\x3f\x00"), "damaged"


def _pngs(good: bytes, planted: str) -> Iterator[File]:
    whole = _saved(_opened(good).resize((160, 120)), "PNG")
    at = whole.index(b"IDAT") + 100
    yield "a PNG cut in the middle", whole[: len(whole) // 2], "truncated"
    yield "a PNG without its end", whole[:-12], "truncated"
    yield "a PNG with a wrong checksum", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "damaged"
    text = forge.chunk(b"tEXt", b"Patient\x00" + planted.encode())
    yield "a PNG of too few rows", forge.png(480, 640, data=b"\x00" * 9000, extra=[text]), "truncated"
    yield "a PNG without data", forge.png(480, 640, data=None, extra=[text]), "truncated"
    yield "a PNG whose data are not deflated", _png_of_raw(480, 640), "damaged"
    yield "a PNG of 16 bits", _saved(Image.fromarray(np.full((64, 64), 900, np.uint16)), "PNG"), "bit-depth"
    yield "a PNG bomb of absurd dimensions", forge.png(2**31 - 1, 2**31 - 1), "too-long-side"
    yield "a PNG bomb that inflates to 300 MB", forge.png(10000, 10000, data=b"\x00" * 2**20), "too-much-memory"
    yield "a PNG of zero width", forge.png(480, 0), "no-pixels"
    yield "a PNG that is see-through", _see_through(good), "transparent"
    yield "a PNG of an unknown colour type", forge.png(480, 640, colour=5), "damaged"


def _tiffs() -> Iterator[File]:
    grey = np.random.default_rng(9).bytes(64 * 64)
    whole = forge.tiff(64, 64, grey)
    yield "a TIFF cut in the middle", whole[: len(whole) // 2], "truncated"
    yield "a TIFF whose strip lies behind its end", forge.tiff(64, 64, grey, tags={273: 10**6}), "truncated"
    yield "a TIFF whose strip is too short", forge.tiff(64, 64, grey[:1000]), "truncated"
    yield "a TIFF of two pages", forge.tiff(64, 64, grey, following=8), "too-many-frames"
    yield "a TIFF that is its own next page", forge.tiff(64, 64, grey, following=8 + 64 * 64), "too-many-frames"
    yield "a TIFF of 16 bits", forge.tiff(64, 64, grey * 2, tags={258: 16}), "bit-depth"
    yield "a TIFF in CMYK", forge.tiff(64, 64, grey * 4, tags={258: [8] * 4, 262: 5, 277: 4}), "cmyk"
    yield "a TIFF of JPEG strips", forge.tiff(64, 64, grey, tags={259: 7}), "unsupported-tiff"
    yield "a TIFF bomb of absurd dimensions", forge.tiff(2**32 - 1, 2**32 - 1, zlib.compress(grey)), "too-long-side"
    bomb = forge.tiff(10500, 10500, zlib.compress(b"\x00" * 2**22), tags={259: 8})
    yield "a TIFF bomb that inflates", bomb, "too-much-memory"
    yield "a TIFF of zero height", forge.tiff(0, 64, grey), "no-pixels"
    yield "a TIFF of deflated garbage", forge.tiff(64, 64, grey, tags={259: 8}), "damaged"
    yield "a BigTIFF", b"II+\x00" + struct.pack("<HHQ", 8, 0, 16) + grey, "unsupported-tiff"
    yield "a TIFF whose directory is elsewhere", b"II*\x00\xff\xff\xff\x7f" + grey, "truncated"


def _dicoms(good: bytes, planted: str) -> Iterator[File]:
    name = forge.element(0x10, 0x10, b"PN", planted.encode())
    grey = np.random.default_rng(10).bytes(64 * 64)
    yield "a DICOM whose pixels are cut off", forge.dicom(64, 64, grey, before=name)[:-100], "truncated"
    yield "a DICOM of too few pixels", forge.dicom(512, 512, grey, before=name), "truncated"
    yield "a DICOM without pixels", forge.dicom(64, 64, None, before=name), "no-picture-in-dicom"
    yield "a DICOM bomb of absurd dimensions", forge.dicom(65535, 65535, grey), "too-long-side"
    yield "a DICOM of zero rows", forge.dicom(0, 64, grey), "no-pixels"
    yield "a DICOM of five thousand frames", forge.dicom(64, 64, grey, frames=5000), "too-many-frames"
    yield "a DICOM of signed samples", forge.dicom(64, 64, grey, signed=1), "unsupported-dicom"
    yield "a DICOM of 32 bits", forge.dicom(64, 64, grey * 4, bits=(32, 32)), "bit-depth"
    palette = forge.dicom(64, 64, grey, photometric=b"PALETTE COLOR")
    yield "a DICOM in palette colour", palette, "unsupported-dicom"
    deflated = forge.dicom(64, 64, zlib.compress(b"\x00" * 2**22), syntax="1.2.840.10008.1.2.1.99")
    yield "a DICOM that inflates", deflated, "unsupported-dicom"
    run_length = forge.dicom(64, 64, grey, syntax="1.2.840.10008.1.2.5", encapsulated=True)
    yield "a DICOM in run lengths", run_length, "unsupported-dicom"
    other = forge.dicom(64, 64, good, syntax=JPEG_BASELINE, encapsulated=True)
    yield "a DICOM whose JPEG has another size", other, "damaged"
    opened = forge.element(0x8, 0x1140, b"SQ", b"", length=0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    yield "a DICOM of a thousand nested sequences", forge.dicom(64, 64, grey, before=opened * 1000), "damaged"
    height, width = _opened(good).height, _opened(good).width
    half = {"samples": 3, "photometric": b"YBR_FULL_422", "syntax": JPEG_BASELINE, "encapsulated": True}
    cut: dict[str, Any] = half
    yield "a DICOM whose JPEG is cut off", forge.dicom(height, width, good[: len(good) // 2], **cut), "truncated"
    mangled = forge.dicom(64, 64, b"\xff\x4f\xff\x51" + grey, syntax="1.2.840.10008.1.2.4.90", encapsulated=True)
    yield "a DICOM of mangled JPEG 2000", mangled, "damaged"


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _again(data: bytes, kind: str, **options: Any) -> bytes:
    return _saved(_opened(data), kind, **options)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _see_through(good: bytes) -> bytes:
    picture = _opened(good).resize((64, 64)).convert("RGBA")
    picture.putpixel((30, 30), (0, 0, 0, 0))
    return _saved(picture, "PNG")


def _png_of_raw(height: int, width: int) -> bytes:
    empty = forge.png(height, width, data=None)
    end = len(empty) - 12
    return empty[:end] + forge.chunk(b"IDAT", b"these are no deflated rows") + empty[end:]
