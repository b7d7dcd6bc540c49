"""The pictures of a drill: distinct, seeded, some broken on purpose, each with where it must end. Knows no server."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from PIL import Image

from eyestream.records import (
    HEADER_CONTENT_TYPE,
    HEADER_META,
    HEADER_TRACEPARENT,
    ImageMeta,
    Laterality,
    Pixels,
    RetinalField,
)
from eyestream.telemetry import new_traceparent
from eyestream.testing.badpictures import bad_pictures
from eyestream.testing.eyes import Eye, random_eye, render
from eyestream.testing.messages import meta_for

SIZE: Final = (200, 260)
"""Height and width: a drill is about the line, so decoding should cost little."""
VIEWS: Final[tuple[tuple[Laterality, RetinalField], ...]] = (
    ("R", "macula"),
    ("R", "disc"),
    ("L", "macula"),
    ("L", "disc"),
)
"""What an exam of a drill consists of."""
_BASES: Final = 24
_PNG_EVERY: Final = 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture file."""

    value: bytes
    content_type: str
    sha256: str


def draw(count: int, *, seed: int = 0) -> Iterator[Drawn]:
    """So many pictures, no two alike: JPEG, and every eighth PNG; the same arguments give the same files.

    Eyes take long to render, so each of a few is shown turned, mirrored and in other light.
    """
    rng = np.random.default_rng(seed)
    bases: list[Pixels] = []
    for number in range(count):
        if len(bases) < _BASES:
            bases.append(render(random_eye(rng), seed * 1000 + number, size=SIZE))
        pixels = bases[number % _BASES][:: int(rng.choice([1, -1])), :: int(rng.choice([1, -1]))]
        light = rng.uniform(0.6, 1.25, 3)
        file = io.BytesIO()
        kind = "PNG" if number % _PNG_EVERY == 0 else "JPEG"
        Image.fromarray(np.clip(pixels * light, 0, 255).astype(np.uint8)).save(file, kind, quality=88)
        value = file.getvalue()
        yield Drawn(value, f"image/{kind.lower()}", hashlib.sha256(value).hexdigest())


def good_jpeg() -> bytes:
    """What bad pictures are made from: `testing.badpictures` says how large it must be."""
    file = io.BytesIO()
    Image.fromarray(render(Eye(), 7, size=(480, 640))).save(file, "JPEG", quality=92)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message to be sent. `meta` is what a good picture's result must carry; a bad one has a `reason` instead."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    meta: ImageMeta | None = None
    reason: str = ""


@dataclass(slots=True)
class Lot:
    """All messages of one scenario, good and bad mixed, in the order of sending; `carried` travel by another way."""

    parcels: list[Parcel] = field(default_factory=list)
    carried: list[ImageMeta] = field(default_factory=list)

    @property
    def metas(self) -> list[ImageMeta]:
        """Of the good pictures: each must have its result."""
        return [*self.carried, *(parcel.meta for parcel in self.parcels if parcel.meta is not None)]

    @property
    def pictures(self) -> int:
        """How many must have an end, of whatever kind."""
        return len(self.parcels) + len(self.carried)


def make_lot(name: str, drawn: Sequence[Drawn], *, bad: int, programme: str = "demo", seed: int = 0) -> Lot:
    """Every drawn picture once, four to an exam named `<name>-<number>`, and so many bad ones among them."""
    captured = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=5)
    parcels = []
    for number, picture in enumerate(drawn):
        laterality, retinal_field = VIEWS[number % len(VIEWS)]
        meta = meta_for(
            picture.value,
            exam_id=f"{name}-{number // len(VIEWS):04d}",
            laterality=laterality,
            field=retinal_field,
            programme=programme,
            captured_at=captured,
        )
        parcels.append(parcel_of(meta, picture.value, picture.content_type))
    kinds = _bad(name, bad, programme, captured) if bad else []
    rng = np.random.default_rng(seed)
    for parcel in kinds:
        parcels.insert(int(rng.integers(0, len(parcels) + 1)), parcel)
    return Lot(parcels)


def parcel_of(meta: ImageMeta, value: bytes, content_type: str) -> Parcel:
    """A good picture as a device would send it."""
    headers = (
        (HEADER_META, meta.to_header()),
        (HEADER_CONTENT_TYPE, content_type.encode()),
        (HEADER_TRACEPARENT, new_traceparent().encode()),
    )
    return Parcel(meta.exam_id.encode(), value, headers, meta=meta)


def _bad(name: str, count: int, programme: str, captured: dt.datetime) -> list[Parcel]:
    """Kinds taken in turn from all there are, each kind of the second round in an exam of its own again."""
    value = good_jpeg()
    parcels: list[Parcel] = []
    start = int(hashlib.sha256(name.encode()).hexdigest(), 16)  # another part of the kinds for each scenario
    while len(parcels) < count:
        exam = f"{name}-bad-{len(parcels):03d}"
        meta = meta_for(value, exam_id=exam, programme=programme, captured_at=captured)
        kinds = bad_pictures(value, meta)
        turned = kinds[start % len(kinds) :] + kinds[: start % len(kinds)]
        parcels += [
            Parcel(exam.encode(), bad.value, tuple(bad.headers.items()), reason=bad.expected_reason)
            for bad in turned[: count - len(parcels)]
        ]
    return parcels
