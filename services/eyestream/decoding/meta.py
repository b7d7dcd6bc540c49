"""Headers -> ImageMeta, and whether the value is the one the device described. Knows no picture format.

Nothing a header holds is repeated in an explanation: a field is named only when it is one of ours, its value never.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from eyestream.decoding.kinds import CONTENT_TYPES, plain_content_type
from eyestream.decoding.refusals import refuse
from eyestream.records import (
    EARLIEST_CAPTURE,
    HEADER_CONTENT_TYPE,
    HEADER_META,
    LATEST_CAPTURE,
    META_SCHEMA,
    ImageMeta,
)

MAX_META_BYTES: Final = 16 * 1024

_HINTS: Final[Mapping[str, str]] = {
    "image_id": "it is 1 to 64 letters, digits, dots, dashes or underscores",
    "exam_id": "it is 1 to 64 letters, digits, dots, dashes or underscores",
    "subject_id": "it is a pseudonym of 16 to 64 letters, digits, dashes or underscores, never a patient's number",
    "laterality": "it is R, L or U",
    "modality": "it is CFP, UWF, FFA, OCT, SLO or FAF",
    "field": "it is macula, disc or other",
    "site_id": "it is a lower-case slug such as clinic-7",
    "device_id": "it is a lower-case slug such as camera-2",
    "captured_at": "it is an ISO 8601 time with its time zone, from 1990 to 2099",
    "programme": "it is a lower-case slug such as diabetic-eye",
    "priority": "it is a whole number from 0 to 9",
    "orientation": "it is an EXIF orientation from 1 to 8",
    "sha256": "it is the file's sha256 in 64 lower-case hexadecimal digits",
}


def read_meta(headers: Mapping[str, bytes]) -> ImageMeta:
    """What the device says of the picture.

    Raises Rejected, stage `meta`, and nothing else, whatever the headers hold. Types are taken strictly: a number in
    quotes or a time without its zone is refused, not guessed. A camera clock that is some years off is accepted,
    because an eye must not go unscreened for it. The content-type header is optional; when present it must be known.
    """
    read_content_type(headers)
    raw = headers.get(HEADER_META)
    if not isinstance(raw, bytes) or not raw:
        raise refuse("missing-meta")
    if len(raw) > MAX_META_BYTES:
        raise refuse("meta-too-large", size=len(raw), limit=MAX_META_BYTES)
    version = _json_object(raw).get("schema_version", META_SCHEMA)
    if type(version) is not int or version != META_SCHEMA:
        raise refuse("unknown-schema", known=META_SCHEMA)
    try:
        meta = ImageMeta.model_validate_json(raw, strict=True)
    except ValidationError as error:
        _blame_field(error)
    if not EARLIEST_CAPTURE <= meta.captured_at < LATEST_CAPTURE:
        raise refuse("invalid-meta", field="captured_at", hint=_HINTS["captured_at"])
    return meta


def read_content_type(headers: Mapping[str, bytes]) -> str | None:
    """The content-type header in lower case and without parameters; None when absent. Raises Rejected when unknown."""
    raw = headers.get(HEADER_CONTENT_TYPE)
    if raw is None:
        return None
    name = plain_content_type(raw.decode("ascii", "replace")) if isinstance(raw, bytes) else ""
    if name not in CONTENT_TYPES:
        raise refuse("unknown-content-type")
    return name


def verify_sha256(value: bytes, meta: ImageMeta) -> None:
    """The bytes are those the device described, else Rejected. Releases the GIL while it hashes."""
    if hashlib.sha256(value).hexdigest() != meta.sha256:
        raise refuse("checksum-mismatch")


def _json_object(raw: bytes) -> dict[str, Any]:
    """The header read once with Python's parser, which sees what pydantic's forgives: doubled keys and NaN."""
    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # ValueError covers bad UTF-8, bad JSON and integers of thousands of digits
        parsed = None
    if not isinstance(parsed, dict):
        raise refuse("meta-not-json")
    return parsed


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _blame_field(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise refuse("meta-not-json") from None
    name = str(first["loc"][0]) if first["loc"] else ""
    if name not in _HINTS:
        hint = "only the documented fields may be sent, so that nothing about a patient travels by accident"
        raise refuse("invalid-meta", field="list of fields", hint=hint) from None
    missing = "it is missing; " if first["type"] == "missing" else ""
    raise refuse("invalid-meta", field=name, hint=missing + _HINTS[name]) from None
