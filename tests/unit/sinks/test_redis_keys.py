from __future__ import annotations

import datetime as dt

import pytest

from eyestream.records import Identity, digest
from eyestream.sinks.redis_keys import Keys

IDENTITY = Identity(digest("an encoder"), digest("a bank"))


@pytest.mark.parametrize(
    ("exam_id", "shards", "shard"),
    [("exam-1", 16, 4), ("exam-2", 16, 14), ("2026-03-01.0042", 16, 2), ("exam-1", 64, 4), ("exam-1", 1, 0)],
)
def test_an_exam_keeps_its_shard_for_ever(exam_id, shards, shard):
    """These numbers are what is stored: changing them loses sight of every result."""
    assert Keys(shards).shard(exam_id) == shard


def test_keys_are_named_as_the_documentation_says():
    keys = Keys(16)
    assert keys.exam("exam-1") == "es:{s04}:exam:exam-1"
    assert keys.image("exam-1", "a", IDENTITY) == f"es:{{s04}}:image:exam-1:a:{IDENTITY}"
    assert keys.worklist(7, "diabetic") == "es:{s07}:worklist:diabetic"
    assert keys.expiry(7, "diabetic") == "es:{s07}:expiry:diabetic"
    assert keys.results(7) == "es:{s07}:results"
    assert keys.count(7, "diabetic", dt.date(2026, 3, 1)) == "es:{s07}:count:diabetic:2026-03-01"
    assert keys.conflicts(7, "diabetic") == "es:{s07}:conflicts:diabetic"
    assert keys.probe(7) == "es:{s07}:probe"


def test_shards_are_about_equally_full():
    keys, sizes = Keys(16), [0] * 16
    for number in range(16_000):
        sizes[keys.shard(f"exam-{number}")] += 1
    assert 800 < min(sizes) <= max(sizes) < 1200
