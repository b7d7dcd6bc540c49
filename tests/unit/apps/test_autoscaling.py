from __future__ import annotations

from types import SimpleNamespace

import pytest

from eyestream.apps.autoscaling import LagPolicy


def context(*lags: float, present: int, least: int = 1, most: int = 4) -> SimpleNamespace:
    return SimpleNamespace(
        aggregated_metrics={"lag": dict(enumerate(lags))} if lags else {},
        target_num_replicas=present,
        capacity_adjusted_min_replicas=least,
        capacity_adjusted_max_replicas=most,
    )


@pytest.mark.parametrize(
    ("lags", "present", "wanted"),
    [
        ((0.0,), 1, 1),
        ((250.0,), 1, 3),
        ((100.0, 150.0), 2, 3),
        ((10_000.0,), 1, 4),
        ((0.0, 0.0, 0.0), 3, 2),
        ((100.0, 100.0), 2, 2),
    ],
)
def test_workers_follow_the_lag_of_all_members_within_the_bounds(lags, present, wanted):
    assert LagPolicy(lag_per_replica=100)(context(*lags, present=present))[0] == wanted


@pytest.mark.parametrize("metrics", [None, {}, {"lag": {}}, {"lag": None}])
def test_without_a_report_the_number_stays(metrics):
    ctx = context(present=3)
    ctx.aggregated_metrics = metrics
    assert LagPolicy(lag_per_replica=100)(ctx)[0] == 3


def test_the_policy_survives_rays_pickling():
    from ray import cloudpickle
    from ray.serve.config import AutoscalingPolicy

    policy = AutoscalingPolicy(
        policy_function="eyestream.apps.autoscaling:LagPolicy", policy_kwargs={"lag_per_replica": 100}
    )
    made = cloudpickle.loads(cloudpickle.dumps(policy)).get_policy()
    assert made(lag_per_replica=100)(context(250.0, present=1))[0] == 3
