"""A release's life on a real API server: in, on, back, out."""

from __future__ import annotations

from typing import Any

import pytest
from chartkit import manifests, render
from controlplane.cluster import Failed
from sites import CHART, Site, wait_until

SHAPES = [file.name.removesuffix("-values.yaml") for file in render.shapes()]


def test_a_release_is_installed_tested_upgraded_rolled_back_and_leaves_nothing(site: Site):
    site.nodes(3)
    before = site.everything()
    site.install(values={"triton": {"pools": {"main": {"replicas": 2}}}})
    assert (site.ready("triton"), site.ready("screening")) == (2, 1)
    site.helm("test", "eyes")

    site.upgrade(values={"settings": {"serve": {"replicas": 3}}, "triton": {"pools": {"main": {"replicas": 1}}}})
    assert (site.ready("triton"), site.ready("screening")) == (1, 3)

    site.helm("rollback", "eyes", "1", "--wait", "--timeout", "4m")
    assert (site.ready("triton"), site.ready("screening")) == (2, 1)

    site.helm("uninstall", "eyes", "--wait", "--timeout", "2m")
    wait_until(lambda: site.everything() <= before, lambda: f"nothing is left, {site.everything() - before} is")


def test_settings_that_change_replace_the_workers_and_nothing_else(site: Site):
    site.nodes(2)
    site.install()
    workers, tritons = ({pod["metadata"]["uid"] for pod in site.pods(part)} for part in ("screening", "triton"))
    site.upgrade(values={"settings": {"line": {"max_batch": 4}}})
    assert workers.isdisjoint(pod["metadata"]["uid"] for pod in site.pods("screening"))
    assert tritons == {pod["metadata"]["uid"] for pod in site.pods("triton")}


@pytest.mark.parametrize("shape", SHAPES)
def test_pain_8_a_restricted_namespace_accepts_every_pod_of_every_shape(site: Site, shape: str):
    """Of Jobs, Deployments and operators' kinds alike: each template is offered to the API server as a pod."""
    pods = manifests.pods(render.objects(render.manifests(render.SHAPES / f"{shape}-values.yaml", namespace=site.name)))
    assert pods
    for number, pod in enumerate(pods):
        site.plane.api.create(
            f"{site.path}/pods",
            {
                "metadata": {"name": f"p{number}", "labels": pod.labels},
                "spec": {**pod.spec, "serviceAccountName": "default", "volumes": _volumes(pod.spec)},
            },
            dryRun="All",
        )


def _volumes(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """A StatefulSet's claims are added to its pods by its controller; here empty folders stand for them."""
    volumes = spec.get("volumes", [])
    mounted = {mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", [])}
    missing = sorted(mounted - {volume["name"] for volume in volumes})
    return [*volumes, *({"name": name, "emptyDir": {}} for name in missing)]


def test_a_restricted_namespace_refuses_what_is_not_restricted(site: Site):
    """Else the test above could not fail."""
    pod = {"metadata": {"name": "loose"}, "spec": {"containers": [{"name": "loose", "image": "loose"}]}}
    with pytest.raises(Exception, match="violates PodSecurity"):
        site.plane.api.create(f"{site.path}/pods", pod, dryRun="All")


def test_pain_10_applied_twice_by_a_controller_of_git_nothing_changes_and_nothing_conflicts(site: Site):
    site.nodes(2)
    objects = render.objects(render.manifests(render.SHAPES / "minimal-values.yaml", namespace=site.name))
    objects = [item for item in objects if "helm.sh/hook" not in item["metadata"].get("annotations", {})]
    site.plane.apply(objects, manager="git")
    deployments = site.of("apps/v1", "deployments")
    first = {item["metadata"]["name"]: item["metadata"]["generation"] for item in site.plane.api.items(deployments)}
    assert len(first) == 2
    assert " configured" not in (said := site.plane.apply(objects, manager="git")), said
    again = {item["metadata"]["name"]: item["metadata"]["generation"] for item in site.plane.api.items(deployments)}
    assert again == first


def test_pain_2_workers_that_someone_scaled_by_hand_are_a_conflict_that_is_named(site: Site):
    """Where the chart renders replicas; where an autoscaler owns them it does not, and test_keda upgrades under it."""
    site.nodes(2)
    site.install()
    site.upgrade()
    site.plane.kubectl("scale", "deployment/eyes-eyestream-screening", "--replicas=4", "-n", site.name)
    with pytest.raises(Failed, match=r"(?s)conflict.*\.spec\.replicas"):
        site.upgrade()
    site.upgrade("minimal", None, "--force-conflicts")
    assert site.ready("screening") == 1


def test_a_name_in_a_release_s_namespace_that_is_taken_is_refused_by_name(site: Site):
    site.nodes(2)
    site.plane.apply(
        [{"apiVersion": "v1", "kind": "ConfigMap",
          "metadata": {"name": "eyes-eyestream-settings", "namespace": site.name}}]
    )  # fmt: skip
    with pytest.raises(Failed, match="eyes-eyestream-settings"):
        site.install()
    assert not site.plane.api.items(site.of("apps/v1", "deployments"))


def test_values_that_are_wrong_touch_no_cluster(site: Site):
    before = site.everything()
    with pytest.raises(Failed, match=r"settings\.triton\.model is empty"):
        site.helm("install", "eyes", CHART, values={"settings": {"kafka": {"bootstrap": "kafka:9092"}},
                  "redis": {"urlSecret": {"name": "redis-url"}}, "banks": {"claim": "banks"}})  # fmt: skip
    assert site.everything() == before
