"""The chart's application in a real Ray Serve, where the real operator put it; Kafka, Redis and Triton are real too.

One process plays the head's pod and has the CPU of a worker's; it runs what the pod says, as KubeRay wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import pytest
from controlplane.cluster import ControlPlane
from controlplane.played import Played, PlayedPod
from sites import Object, Site, wait_until

from eyestream.apps.drills.ground import PLAIN, Ground
from eyestream.apps.local import Stack

NAME = "eyes-eyestream-screening"


@pytest.fixture
def site(ray_plane: ControlPlane, ground: Ground) -> Iterator[Site]:
    ground.host(PLAIN)  # its first start fills the shelf
    ground.stack.stop(PLAIN)
    site = Site(ray_plane, redis_url=ground.stack.endpoints.redis_url)
    site.make()
    site.nodes(2)
    yield site
    site.remove()


def test_the_application_runs_in_a_real_ray_serve(site: Site, ground: Ground):
    site.install("external-triton", values(ground), "--wait=hookOnly")
    with Head(site, ground, "ray-first", address="127.0.0.1"):
        wait_until(lambda: condition(site, "Ready") == "True", lambda: f"it serves: {service(site)}", within_s=300)
        status = service(site)["status"]
        assert status["activeServiceStatus"]["applicationStatuses"]["screening"]["status"] == "RUNNING"


class Head:
    """The head of the RayService's newest cluster as a process; the operator finds it under the cluster's name."""

    def __init__(self, site: Site, ground: Ground, name: str, *, address: str) -> None:
        wait_until(lambda: bool(list(pods_of(site))), "there is a head")
        pod = max(pods_of(site), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        played = Played.read(site.plane.api, pod, {"banks": ground.settings.banks.shelf})
        cluster = pod["metadata"]["labels"]["ray.io/cluster"]
        with (site.plane.state / "hosts").open("a") as hosts:
            hosts.write(f"{address} {cluster}-head-svc.{site.name}.svc.cluster.local\n")
        own = f"--node-ip-address={address} --dashboard-host={address} --num-cpus=1 --object-store-memory=80000000"
        self.name = name
        self.part = PlayedPod(name, played, f"http://{address}:8265/api/gcs_healthz", more=own)
        self.stack = Stack(site.plane.state, model_repository=site.plane.state, parts=[self.part])

    def __enter__(self) -> Self:
        self.stack.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop(self.name)


def pods_of(site: Site) -> list[Object]:
    return list(site.plane.api.pods(site.name, "ray.io/node-type=head"))


def service(site: Site) -> Object:
    return site.plane.api.get(site.of("ray.io/v1", "rayservices", NAME))


def condition(site: Site, kind: str) -> str:
    """`True`, `False`, `Unknown`, or nothing where the operator has not said."""
    found = service(site).get("status", {}).get("conditions", [])
    return next((str(one["status"]) for one in found if one["type"] == kind), "")


def values(ground: Ground, **settings: object) -> Object:
    """The shape of a line on somebody else's Triton, on Ray, over the ground's servers."""
    at = ground.stack.endpoints
    kafka = ground.settings.kafka
    return {
        "fullnameOverride": "eyes-eyestream",
        "settings": {
            "kafka": {"bootstrap": at.kafka, "topic": kafka.topic, "group": kafka.group},
            "triton": {"model": ground.model},
            "serve": {"drain_timeout_s": 20},
            **settings,
        },
        "triton": {"external": at.triton_grpc},
        "screening": {"host": "ray"},
    }
