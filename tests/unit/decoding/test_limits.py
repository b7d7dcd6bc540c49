from __future__ import annotations

import pytest

from eyestream.decoding import Limits
from eyestream.errors import Rejected

SMALL = Limits(max_bytes=100, max_pixels=10_000, max_side=500, min_side=10, max_frames=2, max_scans=3, max_memory=2**20)


@pytest.mark.parametrize(
    ("check", "fits", "exceeds", "reason"),
    [
        (SMALL.check_bytes, (100,), (101,), "too-many-bytes"),
        (SMALL.check_bytes, (1,), (0,), "empty"),
        (SMALL.check_size, (100, 100), (101, 100), "too-many-pixels"),
        (SMALL.check_size, (20, 500), (20, 501), "too-long-side"),
        (SMALL.check_size, (500, 20), (501, 20), "too-long-side"),
        (SMALL.check_size, (10, 10), (9, 10), "too-small"),
        (SMALL.check_size, (10, 10), (10, 9), "too-small"),
        (SMALL.check_size, (10, 10), (10, 0), "no-pixels"),
        (SMALL.check_size, (10, 10), (0, 10), "no-pixels"),
        (SMALL.check_frames, (2,), (3,), "too-many-frames"),
        (SMALL.check_scans, (3,), (4,), "too-many-scans"),
        (SMALL.check_memory, (2**20,), (2**20 + 1,), "too-much-memory"),
    ],
)
def test_the_limit_itself_is_allowed_and_one_more_is_not(check, fits, exceeds, reason):
    check(*fits)
    with pytest.raises(Rejected) as caught:
        check(*exceeds)
    assert caught.value.reason == reason


def test_the_largest_fundus_cameras_fit():
    Limits().check_size(6000, 9000)


def test_what_nobody_set_is_bounded_as_always():
    assert Limits() == Limits(
        max_bytes=64 * 2**20,
        max_pixels=120_000_000,
        max_side=20_000,
        min_side=32,
        max_frames=1,
        max_scans=64,
        max_memory=512 * 2**20,
    )


def test_a_refusal_names_sizes_in_units_that_people_read():
    with pytest.raises(Rejected, match="about 3 MiB where 1 are allowed"):
        SMALL.check_memory(3 * 2**20 + 5)
