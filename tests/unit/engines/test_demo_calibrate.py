"""Operating points: what they promise on the eyes they were measured on, and that they land in the programme."""

from __future__ import annotations

import numpy as np
import pytest

from eyestream.programmes import Programme
from eyestream_engines.demo.calibrate import Point, platt, point, written


def two_humps(seed: int, count: int = 4000, gap: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.3
    return rng.normal(size=count) + gap * labels, labels


def test_calibrated_probabilities_are_the_shares_they_say() -> None:
    margin, labels = two_humps(1)
    a, b = platt(margin * 7, labels)
    p = 1 / (1 + np.exp(-(a * margin * 7 + b)))
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        inside = (p >= low) & (p < high)
        assert p[inside].mean() == pytest.approx(labels[inside].mean(), abs=0.05)


def test_the_points_keep_their_sensitivity_and_specificity() -> None:
    margin, labels = two_humps(2)
    found = point(margin, labels)
    p = 1 / (1 + np.exp(-(found.a * margin + found.b)))
    assert found.sensitive <= found.balanced <= found.specific
    assert (p[labels] >= found.sensitive - 1e-9).mean() >= 0.95
    assert (p[~labels] < found.specific).mean() >= 0.95


def test_perfectly_separable_margins_still_give_numbers_a_programme_takes() -> None:
    margin = np.concatenate([np.full(50, -20.0), np.full(10, 20.0)])
    found = point(margin, margin > 0)
    assert found.a > 0
    assert all(0 < cut < 1 for cut in (found.sensitive, found.balanced, found.specific))


def test_a_margin_that_ranks_the_wrong_way_keeps_a_positive_slope() -> None:
    margin, labels = two_humps(3)
    assert platt(-margin, labels)[0] > 0


def test_points_land_under_their_own_condition_and_nowhere_else() -> None:
    text = Programme.builtin("demo").text
    changed = Programme.parse(written(text, {"drusen": Point(2.5, -1.25, 0.1, 0.2, 0.3, 0.99)}))
    for condition, before in zip(changed.conditions, Programme.builtin("demo").conditions, strict=True):
        if condition.id == "drusen":
            assert (condition.calibration.a, condition.calibration.b) == (2.5, -1.25)
            assert condition.thresholds == {"high-sensitivity": 0.1, "balanced": 0.2, "high-specificity": 0.3}
        else:
            assert condition == before


def test_a_condition_the_programme_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="squint"):
        written(Programme.builtin("demo").text, {"squint": Point(1, 0, 0.1, 0.2, 0.3, 0.9)})
