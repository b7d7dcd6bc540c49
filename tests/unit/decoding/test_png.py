from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from eyestream.decoding import Limits
from eyestream.decoding.png import open_png
from eyestream.errors import Rejected
from eyestream.testing.badpictures import forge


def read(value):
    return open_png(value, Limits()).read(8)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_the_pixels_are_those_of_the_file(mode, pattern, saved):
    picture = Image.fromarray(pattern).convert(mode)
    expected = np.asarray(picture.convert("L" if mode in {"L", "1"} else "RGB"))
    assert np.array_equal(read(saved(picture, "PNG")), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_is_dropped(mode, pattern, saved):
    picture = Image.fromarray(pattern).convert(mode)
    assert np.array_equal(read(saved(picture, "PNG")), np.asarray(picture.convert(mode[:-1])))


def test_a_colour_declared_transparent_is_refused(pattern, saved):
    with pytest.raises(Rejected) as caught:
        read(saved(pattern, "PNG", transparency=(1, 2, 3)))
    assert caught.value.reason == "transparent"


def test_a_bomb_in_a_text_chunk_is_never_inflated(pattern, saved):
    value = saved(pattern, "PNG")
    bomb = forge.chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"\x00" * 2**26))
    assert np.array_equal(read(value[:33] + bomb + value[33:]), pattern)


def test_rows_beyond_the_picture_are_not_inflated():
    rows = b"\x00" * (64 * (64 * 3 + 1)) + b"\x00" * 2**26
    assert read(forge.png(64, 64, data=rows)).shape == (64, 64, 3)


def test_every_flipped_bit_is_noticed(pattern, saved):
    value = saved(pattern, "PNG")
    for at in range(8, len(value), len(value) // 40):
        with pytest.raises(Rejected):
            read(value[:at] + bytes([value[at] ^ 0x10]) + value[at + 1 :])


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"tEXt", b"a\x00b")],
        [(b"IHDR", b"")],
        [(b"IHDR", bytes(12))],
        [(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0) + b"\x00")],
        [(b"tEXt", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))],
        [(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 3, 2, 0, 0, 0))],
        [(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 5, 0, 0, 0))],
        [(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 4, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(64)))],
    ],
    ids=["none", "empty", "short", "long", "another name", "no depth", "no colour", "a depth not of its colour"],
)
def test_a_head_that_is_none_is_damage_and_no_fault_of_ours(chunks):
    value = b"\x89PNG\r\n\x1a\n" + b"".join(forge.chunk(*one) for one in [*chunks, (b"IDAT", b""), (b"IEND", b"")])
    with pytest.raises(Rejected) as caught:
        read(value)
    assert caught.value.reason == "damaged"


def test_an_exif_orientation_is_read(pattern, saved):
    exif = Image.Exif()
    exif[0x0112] = 8
    assert open_png(saved(pattern, "PNG", exif=exif), Limits()).orientation == 8


def test_words_about_a_patient_change_nothing(pattern, saved):
    words = PngImagePlugin.PngInfo()
    words.add_text("Patient", "Doe^Jane")
    assert np.array_equal(read(saved(pattern, "PNG", pnginfo=words)), pattern)
