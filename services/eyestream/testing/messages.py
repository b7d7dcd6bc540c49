"""Messages as a device would send them, for tests, examples and benchmarks. Knows no broker."""

from __future__ import annotations

import datetime as dt
import hashlib
import io

import numpy as np
from PIL import Image

from eyestream.records import ImageMeta, Laterality, RetinalField


def png(seed: int, *, size: tuple[int, int] = (48, 48)) -> bytes:
    """A small seeded noise picture of (height, width), as a PNG file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def meta_for(
    value: bytes,
    *,
    exam_id: str = "exam-1",
    laterality: Laterality = "R",
    field: RetinalField = "macula",
    programme: str = "demo",
    captured_at: dt.datetime | None = None,
) -> ImageMeta:
    """Metadata that fits this file; the image id derives from exam and content, as on a device."""
    sha256 = hashlib.sha256(value).hexdigest()
    return ImageMeta(
        image_id=hashlib.sha256(f"{exam_id}\0{sha256}".encode()).hexdigest()[:32],
        exam_id=exam_id,
        subject_id=hashlib.sha256(b"subject of " + exam_id.encode()).hexdigest()[:32],
        laterality=laterality,
        field=field,
        site_id="test-site",
        device_id="test-camera",
        captured_at=captured_at or dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        programme=programme,
        sha256=sha256,
    )
