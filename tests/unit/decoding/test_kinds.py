from __future__ import annotations

import pytest

from eyestream.decoding.kinds import CONTENT_TYPES, kind_of
from eyestream.errors import Rejected

JPEG, PNG = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"
BEGINNINGS = {
    "jpeg": [JPEG, b"\xff\xd8\xff\xdb"],
    "png": [PNG],
    "tiff": [b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"],
    "dicom": [bytes(128) + b"DICM", b"II*\x00".ljust(128) + b"DICM", JPEG.ljust(128) + b"DICM"],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BEGINNINGS.items() for value in values])
def test_a_kind_is_known_by_its_first_bytes_whatever_follows(kind, value):
    assert kind_of(value) == kind_of(value + b"anything") == kind


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"GIF89a", "GIF"),
        (b"BM\x00\x00", "BMP"),
        (b"\x00\x00\x00\x0cjP  \r\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"%PDF-1.7", "a PDF"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "WebP"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x00\x00\x00\x18ftypheix", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1", "HEIC"),
        (b"\x00\x00\x00\x18ftypavif", "AVIF"),
    ],
)
def test_a_kind_that_is_not_screened_is_named(value, said):
    with pytest.raises(Rejected, match=said) as caught:
        kind_of(value)
    assert (caught.value.reason, caught.value.stage) == ("unsupported-kind", "decoding")


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        JPEG[:2],
        PNG[:-1],
        b"II*",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\x00\x00\x00\x18ftypisom",
        bytes(127) + b"DICM",
        bytes(129) + b"DICM",
        b"x" + JPEG,
    ],
)
def test_what_is_no_picture_is_said_to_be_none(value):
    with pytest.raises(Rejected) as caught:
        kind_of(value)
    assert caught.value.reason == "not-a-picture"


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("image/jpeg", "jpeg"),
        ("image/jpg", "jpeg"),
        ("image/pjpeg", "jpeg"),
        ("image/png", "png"),
        ("image/tiff", "tiff"),
        ("application/dicom", "dicom"),
    ],
)
def test_a_file_is_taken_under_its_own_name_and_refused_under_anothers(named, kind):
    assert kind_of(BEGINNINGS[kind][0], f" {named.upper()} ; q=1") == kind
    other = PNG if kind == "jpeg" else JPEG
    with pytest.raises(Rejected) as caught:
        kind_of(other, named)
    assert caught.value.reason == "content-type-mismatch"


@pytest.mark.parametrize("named", [None, "", "application/octet-stream", "text/html"])
def test_a_name_that_claims_nothing_of_ours_forbids_nothing(named):
    """What may be sent at all is read from the headers, before this."""
    assert kind_of(JPEG, named) == "jpeg"


def test_no_name_beyond_these_may_be_sent():
    assert len(CONTENT_TYPES) == 7
