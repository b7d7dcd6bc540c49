"""The chart's topics and user against Strimzi's own definitions. No operator acts on them: that is Java in images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chartkit import render, schemas
from chartkit.manifests import of_kind
from controlplane import strimzi
from controlplane.cluster import ControlPlane, Failed
from sites import PREBUILT, Object, Site

GROUP = "kafka.strimzi.io/v1"
VALUES: Object = {
    "screening": {"keda": {"enabled": False}},  # KEDA's definitions are not here
    "settings": {"serve": {"max_replicas": None}},
    "triton": {"pools": {"main": {"replicas": 1}}},
    "engines": PREBUILT,
}


def test_what_the_chart_is_held_against_without_a_cluster_is_what_strimzi_s_generator_writes():
    written = {f"strimzi-{file.name}": file for file in strimzi.definitions()}
    assert {file.name for file in schemas.OWN.iterdir()} == written.keys()
    for name, file in written.items():
        assert (schemas.OWN / name).read_text("utf-8") == file.read_text("utf-8"), f"copy {file} there"


@pytest.fixture(scope="module")
def strimzi_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same plane while it knows Strimzi's kinds."""
    files = [argument for file in strimzi.definitions() for argument in ("-f", str(file))]
    plane.kubectl("apply", "--server-side", *files)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
    yield plane
    plane.kubectl("delete", "--timeout=60s", *files)


@pytest.fixture
def site(strimzi_plane: ControlPlane) -> Iterator[Site]:
    with Site(strimzi_plane) as site:
        site.nodes(1)
        yield site


def test_topics_and_a_user_are_kept_as_they_were_rendered_and_topics_outlive_the_release(site: Site):
    site.install("strimzi", VALUES)
    rendered = render.objects(render.manifests(render.SHAPES / "strimzi-values.yaml", namespace=site.name))
    written = {item["metadata"]["name"]: item["spec"] for item in of_kind(rendered, "KafkaTopic", "KafkaUser")}
    assert topics(site) | users(site) == written, "nothing was pruned, nothing was filled in"
    assert (len(topics(site)), len(users(site))) == (2, 1)

    site.upgrade("strimzi", {**VALUES, "kafka": {"partitions": 24}})
    assert topics(site)["eyes-eyestream-images"]["partitions"] == 24

    site.helm("uninstall", "eyes", "--wait", "--timeout", "2m")
    assert users(site) == {}
    assert topics(site).keys() == {"eyes-eyestream-images", "eyes-eyestream-dlq"}, "pictures wait in them"


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("KafkaTopic", {"partitions": 0}, r"spec\.partitions.*greater than or equal to 1"),
        ("KafkaTopic", {"retention": 1}, r"retention: field not declared in schema"),
        ("KafkaUser", {"authentication": {"type": "password"}}, r"spec\.authentication\.type.*Unsupported value"),
        ("KafkaUser", {"authorization": {"type": "simple"}}, r"acls"),
    ],
)
def test_a_wrong_topic_or_user_is_refused(site: Site, kind: str, wrong: Object, said: str):
    """Else the test above could not fail."""
    objects = render.objects(render.manifests(render.SHAPES / "strimzi-values.yaml", namespace=site.name))
    right = of_kind(objects, kind)[0]
    with pytest.raises(Failed, match=rf"(?s){said}"):
        site.plane.apply([{**right, "spec": {**right["spec"], **wrong}}])
    site.plane.apply([right])


def topics(site: Site) -> dict[str, Object]:
    return specs(site, "kafkatopics")


def users(site: Site) -> dict[str, Object]:
    return specs(site, "kafkausers")


def specs(site: Site, kind: str) -> dict[str, Object]:
    """By the object's name."""
    return {item["metadata"]["name"]: item["spec"] for item in site.plane.api.items(site.of(GROUP, kind))}
