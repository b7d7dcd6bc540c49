"""Every object of every shape against the schemas of the oldest and the newest Kubernetes and of the operators."""

from __future__ import annotations

import pytest
from chartkit import manifests, render, schemas, tools

NEEDS_IMAGE_VOLUMES = {"air-gapped"}


@pytest.mark.parametrize("kubernetes", [tools.OLDEST, tools.NEWEST])
def test_every_object_is_valid_in_the_oldest_and_newest_kubernetes(rendered, shape, kubernetes):
    if shape in NEEDS_IMAGE_VOLUMES and kubernetes == tools.OLDEST:
        with pytest.raises(
            render.Refused, match=r"image volumes need Kubernetes 1\.35, or 1\.33 with.*; this is v?1\.29"
        ):
            rendered(shape, kubernetes=kubernetes)
        return
    objects = rendered(shape, kubernetes=kubernetes)
    assert [fault for item in objects for fault in schemas.faults(item, kubernetes)] == []


def test_pod_templates_inside_custom_resources_are_valid_too(rendered):
    for shape in ("ray", "mig"):
        for pod in manifests.pods(rendered(shape)):
            template = {"metadata": {"labels": pod.labels}, "spec": pod.spec}
            assert schemas.template_faults(template, tools.NEWEST) == [], pod.owner


def test_an_unknown_field_a_wrong_type_and_an_unknown_kind_are_faults(rendered):
    deployment = manifests.named(rendered("minimal"), "Deployment", "-screening")
    deployment["spec"]["replica"] = 1
    assert "replica" in schemas.faults(deployment, tools.NEWEST)[0]

    scaled = manifests.named(rendered("plain-keda"), "ScaledObject", "-screening")
    scaled["spec"]["minReplicas"] = 1
    assert "minReplicas" in schemas.faults(scaled, tools.NEWEST)[0]

    removed = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"}}
    assert "nothing is known" in schemas.faults(removed, tools.NEWEST)[0]


def test_every_custom_resource_that_the_chart_can_render_is_in_a_shape(rendered):
    found = {item["kind"] for file in render.shapes() for item in rendered(file.name.removesuffix("-values.yaml"))}
    assert found >= {
        "RayService", "ScaledObject", "TriggerAuthentication", "KafkaTopic", "KafkaUser", "PodMonitor",
        "PrometheusRule", "JobSet", "StatefulSet", "Job", "NetworkPolicy", "PodDisruptionBudget",
    }  # fmt: skip
