"""What docs/howto/send-from-a-device.md tells those who write a producer of their own is what the line takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from eyestream import decoding
from eyestream.decoding.kinds import CONTENT_TYPES
from eyestream.errors import Rejected
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, HEADER_REF, HEADER_TRACEPARENT, ImageMeta

PAGE = (Path(__file__).parents[3] / "docs/howto/send-from-a-device.md").read_text("utf-8")
SECTION = PAGE.split("## A producer of your own")[1].split("\n## ")[0]
WRITTEN = json.loads(SECTION.split("```json")[1].split("```")[0])


def read(meta, **headers):
    return decoding.read_meta({HEADER_META: json.dumps(meta).encode(), **headers})


def test_the_example_is_taken_and_has_every_field():
    read(WRITTEN)
    assert list(WRITTEN) == list(ImageMeta.model_fields)


def test_the_table_names_every_field_and_says_which_may_be_left_out():
    rows = [row for row in SECTION.split("| field | |")[1].splitlines() if row.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert told.keys() == ImageMeta.model_fields.keys()
    for name, field in ImageMeta.model_fields.items():
        assert ("left out" in told[name]) == (not field.is_required()), name
        less = {key: value for key, value in WRITTEN.items() if key != name}
        if field.is_required():
            with pytest.raises(Rejected, match="missing"):
                read(less)
        else:
            read(less)


def test_the_headers_and_content_types_are_those_of_the_line():
    for header in (HEADER_META, HEADER_CONTENT_TYPE, HEADER_TRACEPARENT, HEADER_REF):
        assert f"| `{header}` |" in SECTION
    for name in re.findall(r"`((?:image|application)/[\w-]+)`", SECTION):
        assert name in CONTENT_TYPES
        read(WRITTEN, **{HEADER_CONTENT_TYPE: name.encode()})
