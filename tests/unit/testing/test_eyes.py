"""Rendered eyes: the same each time, the disc where it belongs, findings where they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyestream.testing.eyes import FAULTS, FINDINGS, Eye, captions, random_eye, render, save_jpeg
from eyestream.testing.eyes.captions import held_out_phrasings, phrasings
from eyestream.testing.eyes.claims import CLAIMS, Claim, holds

SMALL = (192, 192)


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int)).max(axis=2) > 12


def without_grain(pixels: np.ndarray) -> np.ndarray:
    """Green in the middle of the field, 3 by 3 pixels averaged so that the sensor's noise is small."""
    return pixels[48:144, 48:144, 1].reshape(32, 3, 32, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_the_same_eye_and_seed_give_the_same_pixels(fault: str | None) -> None:
    eye = Eye("L", "disc", frozenset(FINDINGS if fault is None else ()), fault)
    first = render(eye, 7, SMALL)
    assert first.dtype == np.uint8
    assert first.shape == (*SMALL, 3)
    assert np.array_equal(first, render(eye, 7, SMALL))
    assert not np.array_equal(first, render(eye, 8, SMALL))


@pytest.mark.parametrize("size", [(192, 256), (256, 192), (900, 1400)])
def test_a_picture_has_the_size_asked_for(size: tuple[int, int]) -> None:
    assert render(Eye(), 1, size).shape == (*size, 3)


def test_the_disc_lies_to_the_right_in_a_right_eye_and_to_the_left_in_a_left_eye() -> None:
    for seed in range(8):
        right, left = render(Eye("R"), seed, SMALL).astype(int), render(Eye("L"), seed, SMALL).astype(int)
        for pixels, side in ((right, 1), (left, -1)):
            blue = pixels[:, :, 2] + pixels[:, :, 1]
            brightest = np.argwhere(blue >= np.percentile(blue, 99.7))
            assert side * (np.median(brightest[:, 1]) - SMALL[1] / 2) > 20


@pytest.mark.parametrize("finding", ["microaneurysms", "haemorrhages", "exudates", "drusen", "large-cup"])
def test_a_finding_changes_some_pixels_and_leaves_the_rest_of_the_eye(finding: str) -> None:
    for seed in range(4):
        plain = render(Eye(), seed, SMALL)
        share = changed(plain, render(Eye(findings=frozenset({finding})), seed, SMALL)).mean()
        assert 0.0005 < share < 0.15


def test_blood_darkens_and_deposits_brighten() -> None:
    plain = render(Eye(), 3, SMALL).astype(int)
    for finding, sign in (("haemorrhages", -1), ("microaneurysms", -1), ("exudates", 1), ("drusen", 1)):
        other = render(Eye(findings=frozenset({finding})), 3, SMALL).astype(int)
        difference = (other - plain)[changed(plain.astype(np.uint8), other.astype(np.uint8))]
        assert sign * difference[:, 1].mean() > 5


def test_a_cataract_takes_contrast_away_over_the_whole_field() -> None:
    for seed in range(4):
        plain = without_grain(render(Eye(), seed, SMALL))
        hazy = without_grain(render(Eye(findings=frozenset({"cataract"}), severity=0.9), seed, SMALL))
        assert np.abs(np.diff(hazy)).mean() < 0.6 * np.abs(np.diff(plain)).mean()


def test_each_fault_spoils_the_picture_in_its_own_way() -> None:
    plain = render(Eye(), 5, SMALL).astype(float)
    dark = render(Eye(quality="dark"), 5, SMALL).astype(float)
    assert dark.mean() < 0.45 * plain.mean()
    sharp, blurred = (without_grain(render(Eye(quality=fault), 5, SMALL)) for fault in (None, "blur"))
    assert np.abs(np.diff(blurred)).mean() < 0.6 * np.abs(np.diff(sharp)).mean()
    corner = np.s_[:6, :6]
    assert all(render(Eye(), seed, SMALL)[corner].mean() < 20 for seed in range(10))
    assert np.mean([render(Eye(quality="not-an-eye"), seed, SMALL)[corner].mean() for seed in range(10)]) > 40


@pytest.mark.parametrize(
    "wrong",
    [{"laterality": "U"}, {"field": "iris"}, {"findings": frozenset({"x"})}, {"quality": "x"}, {"severity": 2.0}],
)
def test_an_eye_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        replace(Eye(), **wrong)


def test_chance_eyes_cover_every_finding_and_fault_and_repeat_with_their_seed() -> None:
    eyes = [random_eye(np.random.default_rng(seed)) for seed in range(400)]
    assert eyes == [random_eye(np.random.default_rng(seed)) for seed in range(400)]
    assert set().union(*(eye.findings for eye in eyes)) == set(FINDINGS)
    assert {eye.quality for eye in eyes} == {None, *FAULTS}
    assert all(not eye.findings for eye in eyes if eye.quality == "not-an-eye")


def test_a_saved_picture_is_a_jpeg_of_the_same_size(tmp_path: Path) -> None:
    path = tmp_path / "eye.jpg"
    save_jpeg(render(Eye(), 1, (200, 300)), path, 80)
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert image.size == (300, 200)


def test_captions_are_true_and_repeat_with_their_seed() -> None:
    sayings = {phrase: claim for claim in CLAIMS for phrase in phrasings(claim)}
    for seed in range(50):
        eye = random_eye(np.random.default_rng(seed))
        said = captions(eye, np.random.default_rng(seed), count=6)
        assert said == captions(eye, np.random.default_rng(seed), count=6)
        assert len(said) == 6
        assert all(holds(sayings[text], eye) for text in said)


def test_no_phrase_says_two_different_things() -> None:
    owners: dict[str, set[Claim]] = {}
    for claim in CLAIMS:
        for phrase in (*phrasings(claim), *held_out_phrasings(claim)):
            owners.setdefault(phrase, set()).add(claim)
    assert {phrase: claims for phrase, claims in owners.items() if len(claims) > 1} == {}


def test_held_out_phrases_are_in_no_caption() -> None:
    said = {phrase for claim in CLAIMS for phrase in phrasings(claim)}
    for claim in CLAIMS:
        assert not said.intersection(held_out_phrasings(claim))
    for claim in (*(Claim("finding", name) for name in FINDINGS), *(Claim("fault", name) for name in FAULTS)):
        assert len(held_out_phrasings(claim)) >= 3


def test_a_fault_hides_what_is_there_and_shows_nothing_that_is_not() -> None:
    dark = Eye(findings=frozenset({"drusen"}), quality="dark")
    assert holds(Claim("finding", "drusen"), dark) is None
    assert holds(Claim("finding", "exudates"), dark) is False
    assert holds(Claim("healthy"), dark) is False
    assert holds(Claim("healthy"), Eye(quality="dark")) is None
    assert holds(Claim("gradable"), dark) is False
