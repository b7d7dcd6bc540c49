"""Gates measure the worst, and let nothing through that is not a number."""

from __future__ import annotations

import numpy as np
import pytest

from eyestream.errors import Misconfigured
from eyestream_engines import gates
from eyestream_engines.spec import EncoderFile


@pytest.fixture(scope="module")
def encoder():
    return EncoderFile.load("urfound")


@pytest.fixture
def vectors():
    """Nearly parallel, as embeddings of pictures are."""
    rng = np.random.default_rng(3)
    return (rng.standard_normal(64) + 0.3 * rng.standard_normal((6, 64))).astype(np.float32)


def test_equal_vectors_agree(vectors):
    found = gates.agreement(vectors, vectors.copy())
    assert found.absolute == 0
    assert found.rank == pytest.approx(1)
    assert found.cosine == pytest.approx(1)


def test_one_wrong_picture_among_many_is_what_is_told(vectors):
    got = vectors.copy()
    got[4] = vectors[0]
    found = gates.agreement(vectors, got)
    assert found.rank < 0.5
    assert found.absolute > 0.5


def test_a_difference_that_all_pictures_share_cannot_hide_one_of_their_own(vectors):
    """Cosines of nearly parallel vectors stay high whatever happens to what tells them apart."""
    middle = vectors.mean(0)
    got = middle + 0.5 * (vectors - middle)[::-1]
    found = gates.agreement(vectors, got.astype(np.float32))
    assert found.cosine > 0.8
    assert found.rank < 0.5


@pytest.mark.parametrize("sick", [float("nan"), float("inf")])
def test_what_is_not_a_number_never_passes(encoder, vectors, sick):
    got = vectors.copy()
    got[2, 3] = sick
    assert not gates.graph(vectors, got, encoder).passed
    assert not gates.half("engine", vectors, got, encoder).passed


def test_another_shape_never_passes(encoder, vectors):
    assert not gates.half("engine", vectors, vectors[:, :32], encoder).passed


@pytest.mark.parametrize(
    ("change", "told"),
    [({"absolute": 0.2}, "largest"), ({"cosine": 0.99}, "cosine"), ({"rank": 0.9}, "rank")],
)
def test_each_bound_refuses_alone(change, told):
    good = {"absolute": 0.01, "cosine": 0.99999, "rank": 0.999}
    bounds = {"absolute_bound": 0.03, "cosine_bound": 0.9999, "rank_bound": 0.99}
    assert gates.require(gates.Reading("engine", **good, **bounds)).passed
    with pytest.raises(Misconfigured, match=told):
        gates.require(gates.Reading("engine", **(good | change), **bounds))


def test_pictures_of_a_seed_are_the_same_and_differ_from_each_other(encoder):
    drawn = gates.pictures(encoder.input, seed=5)
    assert np.array_equal(drawn, gates.pictures(encoder.input, seed=5))
    assert not np.array_equal(drawn, gates.pictures(encoder.input, seed=6))
    assert drawn.shape == (gates.PICTURES, 224, 224, 3)
    assert len({one.tobytes() for one in drawn}) == len(drawn)


def test_normalisation_is_that_of_the_description(encoder):
    pixels = np.full((1, 2, 2, 3), 255, np.uint8)
    wanted = (1 - np.array(encoder.input.mean)) / np.array(encoder.input.std)
    assert np.allclose(gates.normalised(pixels, encoder.input)[0, :, 1, 1], wanted)
