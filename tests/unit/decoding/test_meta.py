from __future__ import annotations

import datetime as dt
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyestream.decoding import read_content_type, read_meta, verify_sha256
from eyestream.errors import Rejected
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, ImageMeta

META = ImageMeta(
    image_id="image-1",
    exam_id="exam-1",
    subject_id="0123456789abcdef",
    laterality="L",
    site_id="clinic-7",
    device_id="camera-2",
    captured_at=dt.datetime(2026, 5, 4, 10, tzinfo=dt.UTC),
    programme="diabetic-eye",
    sha256=hashlib.sha256(b"picture").hexdigest(),
)
GOOD = json.loads(META.to_header())


def test_what_a_device_writes_is_read_back():
    assert read_meta({HEADER_META: META.to_header(), HEADER_CONTENT_TYPE: b"image/jpeg"}) == META


def test_a_time_of_another_zone_is_the_same_instant():
    header = json.dumps(GOOD | {"captured_at": "2026-05-04T15:30:00+05:30"}).encode()
    assert read_meta({HEADER_META: header}).captured_at == META.captured_at


def test_a_camera_clock_that_is_years_off_is_no_reason_to_leave_an_eye_unscreened():
    header = json.dumps(GOOD | {"captured_at": "2031-01-01T00:00:00Z"}).encode()
    assert read_meta({HEADER_META: header}).captured_at.year == 2031


def reason_of(header):
    with pytest.raises(Rejected) as caught:
        read_meta({HEADER_META: header})
    assert caught.value.stage == "meta"
    return caught.value.reason


def accepted(**changes):
    return read_meta({HEADER_META: json.dumps(GOOD | changes).encode()})


@pytest.mark.parametrize(
    ("field", "fits", "exceeds"),
    [
        ("captured_at", "1990-01-01T00:00:00Z", "1989-12-31T23:59:59Z"),
        ("captured_at", "2099-12-31T23:59:59Z", "2100-01-01T00:00:00Z"),
        ("captured_at", "2100-01-01T05:29:59+05:30", "2026-05-04T10:00:00"),
        ("priority", 0, -1),
        ("priority", 9, 10),
        ("priority", 5, "5"),
        ("orientation", 1, 0),
        ("orientation", 8, 9),
        ("image_id", "i" * 64, "i" * 65),
        ("image_id", "A.b_c-9", "A/b"),
        ("image_id", "a", ""),
        ("exam_id", "a.b", "a."),
        ("exam_id", "a", "a\n"),
        ("subject_id", "s" * 16, "s" * 15),
        ("subject_id", "s" * 64, "s" * 65),
        ("site_id", "s" * 64, "s" * 65),
        ("site_id", "clinic-7", "Clinic-7"),
        ("sha256", "a" * 64, "A" * 64),
        ("sha256", "0" * 64, "0" * 63),
        ("laterality", "U", "r"),
        ("schema_version", 1, 2),
        ("schema_version", 1, True),
        ("schema_version", 1, 1.0),
    ],
)
def test_a_field_is_taken_up_to_its_bounds_and_no_further(field, fits, exceeds):
    assert accepted(**{field: fits})
    reason = reason_of(json.dumps(GOOD | {field: exceeds}).encode())
    assert reason == ("unknown-schema" if field == "schema_version" else "invalid-meta")


def test_what_a_device_leaves_out_means_the_same_in_every_release():
    needed = {name: GOOD[name] for name, field in ImageMeta.model_fields.items() if field.is_required()}
    told = read_meta({HEADER_META: json.dumps(needed).encode()})
    assert sorted(set(GOOD) - set(needed)) == [
        "field",
        "laterality",
        "modality",
        "orientation",
        "priority",
        "schema_version",
    ]
    assert (told.laterality, told.modality, told.field) == ("U", "CFP", "other")
    assert (told.priority, told.orientation, told.schema_version) == (0, 1, 1)


def test_metadata_of_sixteen_kibibytes_is_read_and_one_more_is_not():
    assert read_meta({HEADER_META: META.to_header().ljust(16 * 1024)}) == META
    assert reason_of(META.to_header().ljust(16 * 1024 + 1)) == "meta-too-large"


@pytest.mark.parametrize(
    "header",
    [
        META.to_header()[:-1] + b',"priority":9}',
        META.to_header().replace(b'"priority":0', b'"priority":NaN'),
        b"[" + META.to_header() + b"]",
        b"[" * 5000,
    ],
    ids=["a key twice", "no number", "no object", "deep"],
)
def test_json_that_two_readers_could_read_differently_is_refused(header):
    assert reason_of(header) == "meta-not-json"


@pytest.mark.parametrize("field", sorted(set(ImageMeta.model_fields) - {"schema_version"}))
def test_the_field_at_fault_is_named(field):
    with pytest.raises(Rejected, match=field) as caught:
        read_meta({HEADER_META: json.dumps(GOOD | {field: "%%"}).encode()})
    assert (caught.value.reason, caught.value.stage) == ("invalid-meta", "meta")
    assert "%%" not in caught.value.explanation


def test_a_missing_field_is_said_to_be_missing():
    with pytest.raises(Rejected, match="exam_id is not acceptable: it is missing"):
        read_meta({HEADER_META: json.dumps({k: v for k, v in GOOD.items() if k != "exam_id"}).encode()})


@pytest.mark.parametrize("raw", [b"image/jpeg", b" Image/JPEG ; quality=1", b"image/tiff", b"application/dicom"])
def test_known_content_types_are_read_whatever_their_spelling(raw):
    assert read_content_type({HEADER_CONTENT_TYPE: raw}) == raw.split(b";")[0].strip().lower().decode()


@pytest.mark.parametrize("raw", [b"text/html", b"", b"\xff", b"image/jpeg2"])
def test_a_picture_of_an_unknown_content_type_is_refused_before_it_is_read(raw):
    with pytest.raises(Rejected) as caught:
        read_meta({HEADER_META: META.to_header(), HEADER_CONTENT_TYPE: raw})
    assert (caught.value.reason, caught.value.stage) == ("unknown-content-type", "meta")


@pytest.mark.parametrize("headers", [{}, {HEADER_META: b""}])
def test_metadata_that_is_missing_is_said_to_be(headers):
    with pytest.raises(Rejected) as caught:
        read_meta(headers)
    assert (caught.value.reason, caught.value.stage) == ("missing-meta", "meta")


def test_a_content_type_may_be_left_out():
    assert read_content_type({}) is None


def test_bytes_that_changed_on_the_way_are_refused():
    verify_sha256(b"picture", META)
    with pytest.raises(Rejected) as caught:
        verify_sha256(b"picturf", META)
    assert (caught.value.reason, caught.value.stage) == ("checksum-mismatch", "meta")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _meta_or_rejected(headers):
    try:
        told = read_meta(headers)
    except Rejected as rejection:
        told = rejection
    assert isinstance(told, ImageMeta) or (told.stage == "meta" and told.explanation.isprintable())


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from([HEADER_META, HEADER_CONTENT_TYPE, "x"]), st.binary(max_size=200)))
def test_random_headers_give_metadata_or_rejected(headers):
    _meta_or_rejected(headers)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=3), st.dictionaries(st.text(), JSON, max_size=1))
def test_random_values_of_fields_give_metadata_or_rejected(changes, additions):
    _meta_or_rejected({HEADER_META: json.dumps(GOOD | changes | additions).encode()})


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.integers(0, len(META.to_header())), st.binary(max_size=4), st.integers(0, 8))
def test_mangled_json_gives_metadata_or_rejected(at, inserted, removed):
    good = META.to_header()
    _meta_or_rejected({HEADER_META: good[:at] + inserted + good[at + removed :]})
