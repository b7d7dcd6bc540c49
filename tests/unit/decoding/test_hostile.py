"""Whatever bytes come, there is a picture of the encoder's size or a Rejected, and nothing else."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyestream.decoding import Limits, Preprocessing, decode
from eyestream.errors import Rejected
from eyestream.records import digest
from eyestream.testing.badpictures import forge

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 10, 3), dtype=np.uint8)).resize((80, 64))


def _saved(kind, picture=PICTURE, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    return exif


SEEDS = {
    "jpeg": _saved("JPEG", exif=_exif()),
    "progressive jpeg": _saved("JPEG", progressive=True),
    "grey jpeg": _saved("JPEG", PICTURE.convert("L")),
    "png": _saved("PNG", exif=_exif()),
    "palette png": _saved("PNG", PICTURE.quantize(16)),
    "tiff": _saved("TIFF"),
    "lzw tiff": _saved("TIFF", compression="tiff_lzw"),
    "packbits tiff": _saved("TIFF", compression="packbits"),
    "dicom": forge.dicom(64, 80, PICTURE.tobytes(), samples=3, photometric=b"RGB"),
    "deep dicom": forge.dicom(64, 80, PICTURE.convert("L").tobytes() * 2, bits=(16, 12)),
    "jpeg dicom": forge.dicom(
        64,
        80,
        _saved("JPEG"),
        syntax="1.2.840.10008.1.2.4.50",
        samples=3,
        photometric=b"YBR_FULL_422",
        encapsulated=True,
    ),
    "nested dicom": forge.dicom(
        64,
        80,
        PICTURE.convert("L").tobytes(),
        before=forge.element(8, 0x1140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), length=0xFFFFFFFF),
    ),
}
LIMITS = Limits(max_pixels=4_000_000, max_memory=64 << 20)


def pixels_or_rejected(value: bytes, *, crop: str = "none") -> None:
    try:
        pixels = decode(value, preprocessing=Preprocessing(crop=crop), height=48, width=56, limits=LIMITS)
    except Rejected as rejection:
        assert rejection.stage == "decoding"  # noqa: PT017  # either outcome is right, so `raises` cannot be asked
        return
    assert pixels.shape == (48, 56, 3)
    assert pixels.dtype == np.uint8


def test_the_seeds_are_good_pictures():
    for value in SEEDS.values():
        decode(value, preprocessing=Preprocessing(), height=48, width=56, limits=LIMITS)


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=100, derandomize=True, deadline=None)
@given(data=st.data())
def test_mutated_files(kind, data):
    value = bytearray(SEEDS[kind])
    edits = st.tuples(st.integers(0, len(value) - 1), st.binary(min_size=1, max_size=4))
    near_the_start = st.tuples(st.integers(0, min(400, len(value) - 1)), st.binary(min_size=1, max_size=4))
    for at, new in data.draw(st.lists(edits | near_the_start, min_size=1, max_size=6)):
        value[at : at + len(new)] = new
    pixels_or_rejected(bytes(value), crop=data.draw(st.sampled_from(["none", "field-of-view"])))


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data())
def test_cut_spliced_and_doubled_files(kind, data):
    value = SEEDS[kind]
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(value))] * 2)))
    other = SEEDS[data.draw(st.sampled_from(sorted(SEEDS)))]
    pixels_or_rejected(value[:stop])
    pixels_or_rejected(value[:start] + value[stop:])
    pixels_or_rejected(value[:start] + other[start:])
    pixels_or_rejected(value[:stop] + value[start:])


@pytest.mark.parametrize(
    "magic", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"\x00" * 128 + b"DICM"]
)
@settings(max_examples=100, derandomize=True, deadline=None)
@given(noise=st.binary(max_size=400))
def test_noise_behind_every_magic(magic, noise):
    pixels_or_rejected(magic + noise)


@pytest.mark.parametrize("kind", [kind for kind in SEEDS if "jpeg" in kind or "png" in kind])
def test_no_strict_prefix_of_a_compressed_picture_is_a_picture(kind):
    value = SEEDS[kind]
    end = value.rindex(b"\xff\xd9") + 2 if "jpeg" in kind else len(value)
    for stop in range(0, end, 7):
        with pytest.raises(Rejected):
            decode(value[:stop], preprocessing=Preprocessing(), height=48, width=56, limits=LIMITS)


def test_a_png_mutated_behind_true_checksums():
    rng = np.random.default_rng(6)
    rows = b"\x00".join([b"", *[bytes(80 * 3)] * 64])
    for _ in range(100):
        at, new = int(rng.integers(len(rows))), bytes([int(rng.integers(256))])
        pixels_or_rejected(forge.png(64, 80, data=rows[:at] + new + rows[at + 1 :]))


def test_the_same_bytes_give_the_same_pixels():
    steps = Preprocessing(crop="field-of-view")
    twice = [
        digest(*[decode(v, preprocessing=steps, height=48, width=56, limits=LIMITS).tobytes() for v in SEEDS.values()])
        for _ in range(2)
    ]
    assert twice[0] == twice[1]
