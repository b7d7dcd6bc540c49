"""The chart's application in a real Ray Serve, where the real operator put it; Kafka, Redis and Triton are real too.

One process plays the head's pod and has the CPU of a worker's; it runs what the pod says, as KubeRay wrote it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Self

import pytest
from controlplane.cluster import ControlPlane
from controlplane.played import Played, PlayedPod
from lines import line_site, line_values
from sites import Object, Site, wait_until

from eyestream.apps.drills.ground import Ground
from eyestream.apps.drills.pictures import make_lot
from eyestream.apps.drills.run import Run
from eyestream.apps.local import Stack

NAME = "eyes-eyestream-screening"
PICTURES = 30
HOOKS_ONLY = "--wait=hookOnly"
"""Without a process behind a head, Helm would wait for ever for the service to be ready."""
SHARED = ("metrics-export-port", "dashboard-agent-listen-port", "ray-client-server-port")
"""Ports that pods have to themselves and processes of one machine do not."""


@pytest.fixture
def site(ray_plane: ControlPlane, ground: Ground) -> Iterator[Site]:
    with line_site(ray_plane, ground, pictures=PICTURES, nodes=2) as site:
        yield site


@pytest.mark.timeout(1200)
def test_pain_13_an_upgrade_replaces_the_cluster_once_the_new_one_serves_and_a_wrong_one_changes_nothing(
    site: Site, ground: Ground
):
    right = values(ground)
    site.install("external-triton", right, HOOKS_ONLY)
    with Head(site, ground, "ray-first") as first:
        until_it_serves(site, first)
        screen(ground)

        wrong = {**right, "settings": {**right["settings"], "kafka": {**right["settings"]["kafka"], "topic": "absent"}}}
        site.upgrade("external-triton", wrong, HOOKS_ONLY)
        with Head(site, ground, "ray-wrong", after=[first.cluster]) as other:
            wait_until(lambda: applications(site, "pending") == ["DEPLOY_FAILED"], lambda: told(site), within_s=300)
            assert other.cluster != first.cluster
            assert (condition(site, "Ready"), served_by(site)) == ("True", first.cluster)
            screen(ground)

            # A rollback goes the same way: KubeRay compares with the newest cluster alone, and asks it before it moves.
            better = {**right, "settings": {**right["settings"], "line": {"max_batch": 4}}}
            site.upgrade("external-triton", better, HOOKS_ONLY)
            second = Head(site, ground, "ray-second", after=[first.cluster, other.cluster])
        with second:
            until_it_serves(site, second)
            first.stop()
            screen(ground)


class Head:
    """The head of a RayService's cluster as a process; the operator finds it under the cluster's name."""

    def __init__(self, site: Site, ground: Ground, name: str, *, after: Sequence[str] = ()) -> None:
        pod = head_of_another(site, after)
        # KubeRay asks port 8265, so each has a loopback address of its own.
        address = ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])
        self.cluster = str(pod["metadata"]["labels"]["ray.io/cluster"])
        with (site.plane.state / "hosts").open("a") as hosts:
            hosts.write(f"{address} {self.cluster}-head-svc.{site.name}.svc.cluster.local\n")
        own = {flag: f"{name}-{flag}" for flag in ("port", *SHARED)}
        part = PlayedPod(
            name,
            Played.read(site.plane.api, pod, {"banks": ground.settings.banks.shelf}),
            f"http://{address}:8265/api/gcs_healthz",
            more=" ".join(f"--{flag}={{{port}}}" for flag, port in own.items())
            + f" --dashboard-host={address} --num-cpus=1 --object-store-memory=80000000",
            changes={"EYESTREAM_TELEMETRY__METRICS_PORT": "0"},
            ports=tuple(own.values()),
        )
        self._name = name
        self._stack = Stack(site.plane.state, model_repository=site.plane.state, parts=[part])

    def __enter__(self) -> Self:
        self._stack.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As the kubelet would, once the cluster is deleted. Idempotent."""
        self._stack.stop(self._name)


def head_of_another(site: Site, known: Sequence[str]) -> Object:
    """The head's pod of a cluster that is not among those, once it runs."""
    found: list[Object] = []

    def there() -> bool:
        heads = site.plane.api.pods(site.name, "ray.io/node-type=head")
        found[:] = [
            pod
            for pod in heads
            if pod["metadata"]["labels"]["ray.io/cluster"] not in known and "podIP" in pod.get("status", {})
        ]
        return bool(found)

    wait_until(there, lambda: f"a new cluster has its head: {told(site)}", within_s=120)
    return found[0]


def until_it_serves(site: Site, head: Head) -> None:
    def serves() -> bool:
        here = served_by(site) == head.cluster and condition(site, "Ready") == "True"
        return here and applications(site, "active") == ["RUNNING"]

    wait_until(serves, lambda: f"{head.cluster} serves: {told(site)}", within_s=300)


def screen(ground: Ground) -> None:
    """Pictures go in, and each comes out with its own result or its own dead letter."""
    mark = f"ray{secrets.token_hex(3)}"
    run = Run(mark, ground, make_lot(mark, ground.drawn[: PICTURES - 2], bad=2), mark=mark)
    run.send()
    run.settle()
    account = run.account()
    assert account.faults == ()
    assert (account.pictures, account.lost, account.conflicts) == (PICTURES, 0, 0)


def service(site: Site) -> Object:
    return site.plane.api.get(site.of("ray.io/v1", "rayservices", NAME))


def status(site: Site, which: str) -> Object:
    """What the operator says of the `active` or the `pending` cluster."""
    found: Object = service(site).get("status", {}).get(f"{which}ServiceStatus", {})
    return found


def applications(site: Site, which: str) -> list[str]:
    return [str(one["status"]) for one in status(site, which).get("applicationStatuses", {}).values()]


def served_by(site: Site) -> str:
    """The cluster that the service is on, nothing where none serves yet."""
    return str(status(site, "active").get("rayClusterName", ""))


def condition(site: Site, kind: str) -> str:
    """`True`, `False`, `Unknown`, or nothing where the operator has not said."""
    found = service(site).get("status", {}).get("conditions", [])
    return next((str(one["status"]) for one in found if one["type"] == kind), "")


def told(site: Site) -> str:
    return str(service(site).get("status", {}))


def values(ground: Ground) -> Object:
    """The shape of a line on somebody else's Triton, on Ray, over the ground's servers."""
    return line_values(
        ground,
        {"serve": {"max_replicas": 1, "drain_timeout_s": 5}},
        screening={"host": "ray"},
        ray={"autoscaling": False},
    )
