"""The chart's RayService under the real KubeRay operator; nodes run nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from controlplane.cluster import ControlPlane
from sites import PREBUILT, Site, wait_until

Object = dict[str, Any]

NAME = "eyes-eyestream-screening"
HOOKS_ONLY = "--wait=hookOnly"
"""Nothing serves on nodes that run nothing, and Helm would wait for it."""
VALUES: Object = {
    "settings": {"serve": {"replicas": 2, "max_replicas": 3}},
    "triton": {"pools": {"main": {"replicas": 1}}},
    "engines": PREBUILT,
    "monitoring": {"podMonitor": {"enabled": False}},
}


@pytest.fixture
def site(ray_plane: ControlPlane) -> Iterator[Site]:
    with Site(ray_plane) as site:
        site.nodes(2)
        yield site


@pytest.mark.parametrize("scales", [True, False], ids=["scaled by Ray", "a fixed number"])
def test_the_operator_makes_the_cluster_that_the_chart_means_and_takes_it_away(site: Site, scales: bool):
    before = site.everything()
    values = {**VALUES, "ray": {"autoscaling": scales}}
    site.install("ray", values, HOOKS_ONLY)
    count = 2 if scales else 3
    wait_until(lambda: len(nodes(site, "worker")) == count, lambda: f"{count} workers and a head: {said(site)}")
    (head,), workers = nodes(site, "head"), nodes(site, "worker")
    assert "--num-cpus=0 " in head["spec"]["containers"][0]["args"][0]
    assert all("--num-cpus=1 " in worker["spec"]["containers"][0]["args"][0] for worker in workers)
    assert {pod["spec"]["terminationGracePeriodSeconds"] for pod in [head, *workers]} == {120}
    assert {pod["metadata"]["labels"]["eyestream.io/pool"] for pod in workers} == {"workers"}
    (cluster,) = clusters(site)
    services = {item["metadata"]["name"] for item in site.plane.api.items(f"{site.path}/services")}
    assert f"{cluster}-head-svc" in services

    site.helm("uninstall", "eyes", "--wait", "--timeout", "2m")
    wait_until(lambda: site.everything() <= before, lambda: f"nothing is left, {site.everything() - before} is")
    assert [what for what in said(site) if "CreatedRedisCleanupJob" in what], "Ray's state was cleared from Redis"


@pytest.mark.parametrize("scales", [True, False], ids=["scaled by Ray", "a fixed number"])
def test_pain_2_an_upgrade_is_no_conflict_with_the_operator(site: Site, scales: bool):
    values = {**VALUES, "ray": {"autoscaling": scales}}
    site.install("ray", values, HOOKS_ONLY)
    wait_until(lambda: bool(clusters(site)), lambda: f"a cluster: {said(site)}")
    site.upgrade("ray", {**values, "screening": {"graceSeconds": 40}}, HOOKS_ONLY)
    template = service(site)["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]
    assert template["spec"]["terminationGracePeriodSeconds"] == 130


def test_what_the_operator_refuses_is_told_where_one_looks(site: Site):
    site.install("ray", VALUES, HOOKS_ONLY)
    path = site.of("ray.io/v1", "rayservices", NAME)
    site.plane.api.merge(path, {"spec": {"rayClusterConfig": {"rayVersion": "2.51.0"}}})
    expected = "minimum Ray version is 2.52.0, got 2.51.0"
    wait_until(lambda: any(expected in str(one["message"]) for one in conditions(site)), lambda: str(conditions(site)))
    assert [what for what in said(site) if expected in what]


def test_only_who_holds_the_cluster_s_token_may_use_its_dashboard(site: Site):
    site.install("ray", VALUES, HOOKS_ONLY)
    wait_until(lambda: len(nodes(site, "worker")) == 2, lambda: f"two workers and a head: {said(site)}")
    for pod in [*nodes(site, "head"), *nodes(site, "worker")]:
        environment = {one["name"]: one for one in pod["spec"]["containers"][0]["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        secret = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert site.plane.api.exists(f"{site.path}/secrets/{secret['name']}")


def test_a_node_with_a_worker_can_be_drained_and_no_second_one_meanwhile(site: Site):
    site.install("ray", {**VALUES, "ray": {"autoscaling": False}}, HOOKS_ONLY)
    path = f"/apis/policy/v1/namespaces/{site.name}/poddisruptionbudgets/{NAME}-workers"

    def allowed() -> int:
        return int(site.plane.api.get(path).get("status", {}).get("disruptionsAllowed", 0))

    wait_until(lambda: allowed() == 1, lambda: f"one of three may go: {site.plane.api.get(path)} {said(site)}")
    assert not [what for what in said(site) if "scale subresource" in what]


def nodes(site: Site, kind: str) -> list[Object]:
    """Ray's pods of a kind, `head` or `worker`."""
    return list(site.plane.api.pods(site.name, f"ray.io/node-type={kind}"))


def service(site: Site) -> Object:
    return site.plane.api.get(site.of("ray.io/v1", "rayservices", NAME))


def conditions(site: Site) -> list[Object]:
    found: list[Object] = service(site).get("status", {}).get("conditions", [])
    return found


def clusters(site: Site) -> list[str]:
    found = site.plane.api.items(site.of("ray.io/v1", "rayclusters"))
    return sorted(item["metadata"]["name"] for item in found)


def said(site: Site) -> list[str]:
    """What the operator and the cluster said of it."""
    return [f"{event['reason']}: {event['message']}" for event in site.plane.api.items(f"{site.path}/events")]
