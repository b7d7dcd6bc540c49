"""Headers that are wrong or hostile, each with the reason they must be refused for; their value is a good picture."""

from __future__ import annotations

import json
from collections.abc import Iterator

from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, HEADER_REF, ImageMeta

Headers = dict[str, bytes]
Case = tuple[str, Headers, str]
"""Name, headers, expected reason."""


def good_headers(meta: ImageMeta, content_type: str = "image/jpeg") -> Headers:
    """As a device sends them."""
    return {HEADER_META: meta.to_header(), HEADER_CONTENT_TYPE: content_type.encode()}


def bad_headers(meta: ImageMeta, planted: str) -> Iterator[Case]:
    """Every kind, made from good metadata; `planted` stands wherever a patient's name could stand."""
    yield from _no_metadata(meta, planted)
    for name, change, reason in _changes(meta, planted):
        yield name, {**good_headers(meta), HEADER_META: json.dumps(change).encode()}, reason
    yield from _around_it(meta, planted)


def _no_metadata(meta: ImageMeta, planted: str) -> Iterator[Case]:
    good = meta.to_header()

    def with_meta(raw: bytes) -> Headers:
        return {**good_headers(meta), HEADER_META: raw}

    yield "no metadata", {HEADER_CONTENT_TYPE: b"image/jpeg"}, "missing-meta"
    yield "no headers at all", {}, "missing-meta"
    yield "empty metadata", with_meta(b""), "missing-meta"
    yield "metadata that are not UTF-8", with_meta(b"\xff\xfe" + good), "meta-not-json"
    yield "metadata that are a sentence", with_meta(f"the left eye of {planted}".encode()), "meta-not-json"
    yield "metadata that are a list", with_meta(b"[" + good + b"]"), "meta-not-json"
    yield "metadata that are cut off", with_meta(good[:-10]), "meta-not-json"
    yield "metadata nested five thousand deep", with_meta(b'{"a":' * 2500 + b"1" + b"}" * 2500), "meta-not-json"
    yield (
        "metadata with a number of nine thousand digits",
        with_meta(b'{"priority":' + b"9" * 9000 + b"}"),
        "meta-not-json",
    )
    yield "metadata with NaN", with_meta(good[:-1] + b',"priority":NaN}'), "meta-not-json"
    yield "metadata with a key given twice", with_meta(good[:-1] + b',"laterality":"L"}'), "meta-not-json"
    yield "metadata with half a surrogate pair", with_meta(good[:-1] + b',"x":"\\ud800"}'), "meta-not-json"
    yield "metadata of a megabyte", with_meta(b" " * 2**20 + good), "meta-too-large"


def _changes(meta: ImageMeta, planted: str) -> Iterator[tuple[str, dict[str, object], str]]:
    good: dict[str, object] = json.loads(meta.to_header())
    yield "a later schema version", good | {"schema_version": 2}, "unknown-schema"
    yield "a schema version in quotes", good | {"schema_version": "1"}, "unknown-schema"
    yield "a schema version that is true", good | {"schema_version": True}, "unknown-schema"
    yield "a time without a zone", good | {"captured_at": "2026-05-04T10:00:00"}, "invalid-meta"
    yield "a time as a number", good | {"captured_at": 1750000000}, "invalid-meta"
    yield "a time in the far future", good | {"captured_at": "9000-01-01T00:00:00Z"}, "invalid-meta"
    yield "a time before cameras", good | {"captured_at": "0001-01-01T00:00:00+14:00"}, "invalid-meta"
    yield "a time that does not exist", good | {"captured_at": "2026-02-30T10:00:00Z"}, "invalid-meta"
    yield "a script as image id", good | {"image_id": "<script>alert(1)</script>"}, "invalid-meta"
    yield "a path as exam id", good | {"exam_id": "../../etc/passwd"}, "invalid-meta"
    yield "a line break and NUL in the exam id", good | {"exam_id": "exam\r\nX: 1\x00"}, "invalid-meta"
    yield "another exam's hash tag in the exam id", good | {"exam_id": "}:exam:{s3}"}, "invalid-meta"
    yield "a patient's name as subject", good | {"subject_id": planted}, "invalid-meta"
    yield "a field nobody asked for", good | {"patient_name": planted}, "invalid-meta"
    yield "a patient's name as a field's name", good | {planted: "R"}, "invalid-meta"
    yield "a laterality in words", good | {"laterality": "left"}, "invalid-meta"
    yield "an unknown modality", good | {"modality": "X-RAY"}, "invalid-meta"
    yield "a priority out of range", good | {"priority": 99}, "invalid-meta"
    yield "a priority in quotes", good | {"priority": "3"}, "invalid-meta"
    yield "an orientation out of range", good | {"orientation": 9}, "invalid-meta"
    yield "a sha256 in capitals", good | {"sha256": meta.sha256.upper()}, "invalid-meta"
    yield "a missing image id", {key: good[key] for key in good if key != "image_id"}, "invalid-meta"
    yield "a null programme", good | {"programme": None}, "invalid-meta"
    yield "a program nobody runs", good | {"programme": "no-such-programme"}, "unknown-programme"
    yield "the sha256 of another picture", good | {"sha256": "0" * 64}, "checksum-mismatch"


def _around_it(meta: ImageMeta, planted: str) -> Iterator[Case]:
    good = good_headers(meta)
    yield "a content type that is not screened", good | {HEADER_CONTENT_TYPE: b"text/html"}, "unknown-content-type"
    yield (
        "a content type of garbage",
        good | {HEADER_CONTENT_TYPE: b"\xff\x00" + planted.encode()},
        "unknown-content-type",
    )
    yield "a content type of a megabyte", good | {HEADER_CONTENT_TYPE: b"image/jpeg" * 10**5}, "unknown-content-type"
    yield "a content type of another kind", good | {HEADER_CONTENT_TYPE: b"image/png"}, "content-type-mismatch"
    for name, reference in (
        ("a reference to a system file", b"file:///etc/passwd"),
        ("a reference to the network", b"http://169.254.169.254/latest/meta-data"),
        ("a reference that climbs out", b"s3://eyes/../secrets/key"),
        ("a reference of garbage", b"\xff\xfe\x00" + planted.encode()),
        ("an empty reference", b""),
    ):
        yield name, good | {HEADER_REF: reference}, "reference-not-allowed"
