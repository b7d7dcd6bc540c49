"""The schedule: at the stated rate, the same each time, and each arrival somebody's."""

from __future__ import annotations

import numpy as np
import pytest

from eyestream_load import arrivals, scenario
from eyestream_load.scenario import Scenario

RAMP = ((0.0, 0.0), (100.0, 20.0))


def plan(**changes):
    told = {"title": "t", "seconds": 60, "cameras": {"count": 3, "rate": [[0, 4]]}}
    return Scenario.model_validate(told | changes)


@pytest.mark.parametrize("curve", [RAMP, ((0.0, 3.0),), ((0.0, 5.0), (50.0, 0.0), (80.0, 0.0), (81.0, 5.0))])
def test_evenly_spread_arrivals_follow_the_integral_of_the_rate(curve):
    found = arrivals.times(curve, 100.0, poisson=False, rng=np.random.default_rng(0))
    assert len(found) == round(scenario.total(curve, 100.0))
    for moment in (10.0, 40.0, 90.0, 100.0):
        knots = [knot for knot in curve if knot[0] <= moment]
        until = scenario.total((*knots, (moment, float(np.interp(moment, *zip(*curve, strict=True))))), moment)
        assert np.count_nonzero(found <= moment) == pytest.approx(until, abs=1)


def test_nothing_arrives_while_the_rate_is_nothing():
    curve = ((0.0, 5.0), (10.0, 0.0), (20.0, 0.0), (30.0, 5.0))
    for poisson in (True, False):
        found = arrivals.times(curve, 40.0, poisson=poisson, rng=np.random.default_rng(1))
        assert not np.any((found > 10.02) & (found < 19.98))


def test_arrivals_by_chance_have_the_rate_and_the_spread_of_a_poisson_process():
    counts = []
    for seed in range(400):
        found = arrivals.times(RAMP, 100.0, poisson=True, rng=np.random.default_rng(seed))
        assert np.all(np.diff(found) >= 0)
        counts.append((np.count_nonzero(found < 50), np.count_nonzero(found >= 50)))
    early, late = np.array(counts).T
    # Integrals of the ramp: 250 and 750. A mean over 400 runs lies within 5 of its own deviations.
    assert early.mean() == pytest.approx(250, abs=5 * np.sqrt(250 / 400))
    assert late.mean() == pytest.approx(750, abs=5 * np.sqrt(750 / 400))
    assert early.var() == pytest.approx(250, rel=0.4)


def test_the_same_scenario_gives_the_same_schedule_and_another_seed_another():
    assert arrivals.shots(plan()) == arrivals.shots(plan())
    assert arrivals.shots(plan()) != arrivals.shots(plan(seed=2))


def test_an_exam_is_one_camera_s_with_its_pictures_one_after_the_other():
    exams = {}
    for shot in arrivals.shots(plan()):
        exams.setdefault(shot.exam, []).append(shot)
    assert len(exams) > 30
    for shots in exams.values():
        assert [shot.view for shot in shots] == [0, 1, 2, 3]
        assert len({shot.camera for shot in shots}) == 1
        assert len({shot.photograph for shot in shots}) == 4
        assert np.allclose(np.diff([shot.at_s for shot in shots]), 1.0)


def test_pictures_are_in_order_of_time_and_every_camera_has_some():
    shots = arrivals.shots(plan())
    assert [shot.at_s for shot in shots] == sorted(shot.at_s for shot in shots)
    assert {shot.camera for shot in shots} == {0, 1, 2}


def test_each_picture_is_exactly_one_camera_s():
    told = plan()
    by_camera = arrivals.shots_by_camera(told)
    assert sorted((shot.exam, shot.view) for shots in by_camera.values() for shot in shots) == sorted(
        (shot.exam, shot.view) for shot in arrivals.shots(told)
    )
    assert all(shot.camera == camera for camera, shots in by_camera.items() for shot in shots)


def test_batches_and_sessions_belong_to_one_caller_each():
    told = plan(triton={"count": 2, "rate": [[0, 2]]}, readers={"count": 3, "rate": [[0, 2]]})
    assert {call.caller for call in arrivals.calls(told)} == {0, 1}
    assert {call.caller for call in arrivals.sessions(told)} == {0, 1, 2}
    assert arrivals.calls(plan()) == arrivals.sessions(plan()) == []
