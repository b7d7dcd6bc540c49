from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyestream.occlusion import Occlusion

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (64, 48, 3), dtype=np.uint8)


def pictures(occlusion: Occlusion, size: int = 7) -> np.ndarray:
    return np.concatenate(list(occlusion.batches(size)))


@given(size=st.integers(1, 40), cells=st.integers(1, 6))
def test_every_picture_comes_once_in_order_whatever_the_batch(size: int, cells: int):
    occlusion = Occlusion(NOISE, cells)
    batches = list(occlusion.batches(size))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert all(len(batch) == size for batch in batches[:-1])
    assert np.array_equal(np.concatenate(batches), pictures(occlusion, 1000))
    assert sum(map(len, batches)) == occlusion.pictures == 1 + cells**2


def test_the_first_is_the_picture_itself_and_each_other_is_changed_about_its_place_alone():
    occlusion = Occlusion(NOISE, 8)
    first, *others = pictures(occlusion)
    assert np.array_equal(first, NOISE)
    for place, other in enumerate(others):
        row, column = divmod(place, 8)
        changed = (other != NOISE).any(axis=2)
        assert changed[row * 8 : row * 8 + 8, column * 6 : column * 6 + 6].mean() > 0.9
        rows, columns = np.nonzero(changed)
        assert abs(rows - (row + 0.5) * 8).max() <= 1.7 * 8
        assert abs(columns - (column + 0.5) * 6).max() <= 1.7 * 6


def test_covering_what_is_even_changes_nothing():
    even = np.full((32, 32, 3), 90, np.uint8)
    assert all(np.array_equal(picture, even) for picture in pictures(Occlusion(even, 4)))


def test_a_place_speaks_for_what_is_lost_without_it():
    """The log-odds here are how bright the brightest pixel is: only covering it can lose any."""
    dark = np.full((64, 64, 3), 20, np.uint8)
    dark[41:43, 9:11] = 250
    occlusion = Occlusion(dark, 8)
    lost = occlusion.lost(pictures(occlusion).max(axis=(1, 2)).astype(np.float64))
    assert lost.shape == (8, 8, 3)
    assert lost[5, 1, 0] == lost.max() > 100
    assert (lost >= 0).all()
    rows, columns = np.nonzero(lost[..., 0])
    assert abs(rows - 5).max() <= 1
    assert abs(columns - 1).max() <= 1


def test_answers_that_are_not_all_there_are_refused():
    with pytest.raises(ValueError, match="65 pictures were made, and 64 came back"):
        Occlusion(NOISE, 8).lost(np.zeros((64, 2)))
