"""GPUs are few: rollouts, drains, engines and quotas on nodes that are full."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chartkit import render, tools
from controlplane.cluster import Failed
from initialising import CUSTOM, Initialising
from sites import ENGINES, PREBUILT, Object, Site, Watching, wait_until

FULL = {"triton": {"pools": {"main": {"replicas": 3}}}}
"""As many pods as three nodes have GPUs; the engine was built before."""
FILLED = {**FULL, "engines": PREBUILT}

JOBS = {"mode": "job"}

DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data")


def test_pain_1_a_rollout_on_a_full_fleet_never_misses_more_than_one_pod(site: Site):
    site.nodes(3)
    site.install(values=FILLED)
    before = {pod["metadata"]["uid"] for pod in site.pods("triton")}
    changed = {**FILLED, "images": {"triton": {"tag": "26.09-py3"}}}
    with Watching(site, "triton") as watching:
        site.upgrade(values=changed)
    assert before.isdisjoint(pod["metadata"]["uid"] for pod in site.pods("triton"))
    assert min(watching.counts) >= 2
    assert len(watching.counts) > 5, "it was watched"
    assert site.ready("triton") == 3


def test_pain_1_with_a_surge_the_same_rollout_would_never_end(site: Site):
    """What the chart's default avoids, so that the test above could fail."""
    site.nodes(3)
    site.install(values=FILLED)
    strategy = {"strategy": {"maxSurge": 1, "maxUnavailable": 0}}
    pool = {"triton": {"pools": {"main": {"replicas": 3, **strategy}}}}
    with pytest.raises(Failed, match=r"eyes-eyestream-triton-main"):
        site.upgrade("minimal", {**FILLED, **pool, "images": {"triton": {"tag": "26.09-py3"}}}, "--timeout", "15s")
    (waiting,) = [pod for pod in site.pods("triton") if pod["status"].get("phase") == "Pending"]
    (why,) = [one for one in waiting["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert "Insufficient nvidia.com/gpu" in why["message"]


def test_pain_3_node_after_node_is_drained_and_one_pod_always_serves(site: Site):
    nodes = site.nodes(3)
    site.install(values={"triton": {"pools": {"main": {"replicas": 2}}}, "engines": PREBUILT})
    with Watching(site, "triton") as watching:
        for node in nodes:
            site.plane.kubectl("drain", node, *DRAIN, "--timeout=120s")
            assert node not in {pod["spec"].get("nodeName") for pod in site.pods("triton")}
            wait_until(lambda: site.ready("triton") == 2, "a successor is ready on another node")
            site.plane.kubectl("uncordon", node)
    assert min(watching.counts) >= 1


def test_pain_3_a_drain_of_a_full_fleet_is_refused_a_second_pod(site: Site):
    nodes = site.nodes(2)
    site.install(values={"triton": {"pools": {"main": {"replicas": 2}}}, "engines": PREBUILT})
    site.plane.kubectl("drain", nodes[0], *DRAIN, "--timeout=60s")
    command = [tools.kubectl(), "--kubeconfig", site.plane.kubeconfig, "drain", nodes[1], *DRAIN, "--timeout=8s"]
    second = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "would violate the pod's disruption budget" in second.stderr + second.stdout
    assert site.ready("triton") == 1
    site.plane.kubectl("uncordon", nodes[0])
    wait_until(lambda: site.ready("triton") == 2, "the pod that was evicted is back")
    site.plane.kubectl("drain", nodes[1], *DRAIN, "--timeout=30s", "--dry-run=server")


def test_pain_16_slices_and_shares_of_gpus_are_found_where_they_are(site: Site):
    slices = {"nvidia.com/mig-2g.20gb": 3}
    (sliced,) = site.nodes(1, product="NVIDIA-A100-SXM4-80GB", resources=slices, tainted=True)
    (shared,) = site.nodes(1, product="NVIDIA-L4-SHARED", resources={"nvidia.com/gpu.shared": 4})
    site.nodes(1)
    pools = {"slices": {"replicas": 3}, "shared": {"replicas": 2}}
    site.install("mig", {"engines": {**PREBUILT, "queue": ""}, "triton": {"pools": pools}})
    placed = [(pod["metadata"]["labels"]["eyestream.io/pool"], pod["spec"]["nodeName"]) for pod in site.pods("triton")]
    assert sorted(placed) == sorted([("slices", sliced)] * 3 + [("shared", shared)] * 2)


class Fleet:
    """Three nodes with a GPU each, whose init containers run here; an engine takes `seconds` to build."""

    def __init__(self, site: Site, folder: Path, *, seconds: float = 3, gpu: str = "NVIDIA H100 80GB HBM3") -> None:
        self.site, self._folder = site, folder
        site.nodes(3)
        for name in ("bin", "cache", "checkpoints", "pods"):
            (folder / name).mkdir()
        (folder / "libnvinfer.so.11.2.1").touch()
        self._program("nvidia-smi", f'case "$*" in *name*) echo "{gpu}" ;; *compute_cap*) echo 9.0 ;; esac')
        self._program(
            "eyestream-engines",
            f'echo began >>"{folder}/begun"\nfor last in "$@"; do :; done\nmodel="${{last#--output=}}/flair"\n'
            f'mkdir -p "$model/1"\nsleep {seconds}\necho plan >"$model/1/model.plan"\necho >"$model/config.pbtxt"',
        )
        variables = {"ENGINE_LIBRARIES": str(folder / "libnvinfer.so.*.*.*"), "ENGINE_POLL_SECONDS": "0.2"}
        claims = {ENGINES: folder / "cache", "checkpoints": folder / "checkpoints"}
        self.kubelets = Initialising(site, folder / "pods", claims=claims, programs=folder / "bin", variables=variables)

    def _program(self, name: str, body: str) -> None:
        file = self._folder / "bin" / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def encoder(self, weights: str, **pool: object) -> Object:
        """Values of a full fleet that serves an encoder with these weights."""
        digest = hashlib.sha256(weights.encode()).hexdigest()
        (self._folder / "checkpoints" / weights).write_text(weights)
        checkpoint = {"claim": "checkpoints", "path": weights}
        pool = {"replicas": 3, "podAnnotations": CUSTOM, **pool}
        return {
            "models": {"flair": {"digest": digest, "checkpoint": checkpoint}},
            "triton": {"pools": {"main": pool}},
        }

    @property
    def begun(self) -> int:
        """Builds, to their end or not."""
        file = self._folder / "begun"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def engines(self) -> list[Path]:
        """Everything in the cache that has a plan, whole or not."""
        return sorted(self._folder.glob("cache/**/model.plan"))


def test_a_full_fleet_builds_a_new_encoder_s_engine_in_place_and_never_misses_more_than_one_pod(
    site: Site, tmp_path: Path
):
    fleet = Fleet(site, tmp_path)
    with fleet.kubelets:
        site.install(values=fleet.encoder("first"))
        assert fleet.begun == 1, "three pods missed it at once and one built it"
        before = {pod["metadata"]["uid"] for pod in site.pods("triton")}
        with Watching(site, "triton") as watching:
            site.upgrade(values=fleet.encoder("second"))
        assert site.ready("triton") == 3
        assert before.isdisjoint(pod["metadata"]["uid"] for pod in site.pods("triton"))
        assert min(watching.counts) == 2
        assert len(watching.counts) > 5, "it was watched"
        assert fleet.begun == 2
        assert len(fleet.engines()) == 2
        site.helm("rollback", "eyes", "--wait", "--timeout", "4m")
        assert fleet.begun == 2, "the engine of before is still there"
    assert not fleet.kubelets.faults


def test_with_caches_of_their_own_all_pods_build_and_still_one_is_missing_at_a_time(site: Site, tmp_path: Path):
    fleet = Fleet(site, tmp_path, seconds=1)
    alone = {"engines": {"cache": {"perPod": True}}}
    with fleet.kubelets:
        site.install(values=fleet.encoder("first") | alone)
        assert fleet.begun == 3
        with Watching(site, "triton") as watching:
            site.upgrade(values=fleet.encoder("second") | alone)
        assert fleet.begun == 6
        assert min(watching.counts) == 2
    assert fleet.engines() == [], "nothing is shared"
    assert not fleet.kubelets.faults


def test_pain_5_a_machine_that_is_not_what_its_node_says_neither_builds_nor_serves(site: Site, tmp_path: Path):
    fleet = Fleet(site, tmp_path, gpu="NVIDIA H100 NVL")
    with fleet.kubelets as kubelets:
        with pytest.raises(Failed, match="eyes-eyestream-triton-main"):
            site.install("minimal", fleet.encoder("first"), "--timeout", "15s")
        assert site.ready("triton") == 0
        said = {kubelets.said(pod).splitlines()[0] for pod in site.pods("triton")}
        (why,) = said
        assert 'this GPU is "NVIDIA H100 NVL", the engine is for NVIDIA-H100-80GB-HBM3' in why
        assert fleet.begun == 0


def test_a_machine_that_is_lost_while_it_builds_is_followed_by_another(site: Site, tmp_path: Path):
    fleet = Fleet(site, tmp_path, seconds=8)
    with fleet.kubelets as kubelets:
        shape = str(render.SHAPES / "minimal-values.yaml")
        site.helm("install", "eyes", str(render.CHART), "-f", shape, values=fleet.encoder("first"))

        def builders() -> list[Object]:
            return [pod for pod in site.pods("triton") if "another pod builds" not in kubelets.said(pod)]

        wait_until(lambda: fleet.begun == 1 and len(builders()) == 1, "one builds and two wait")
        (builder,) = builders()
        kubelets.lose(builder)
        site.plane.kubectl("delete", "pod", "-n", site.name, builder["metadata"]["name"], "--force", "--wait=false")
        wait_until(lambda: site.ready("triton") == 3, "the fleet is full", within_s=120)
        assert fleet.begun == 2
        assert len(fleet.engines()) == 1, "what was half built is gone"
    assert not kubelets.faults


def test_without_a_free_gpu_a_job_waits_for_pods_that_wait_for_it(site: Site):
    """What building in place and `engines.priorityClassName` are for, so that the tests of both could fail."""
    site.nodes(3)
    site.install(values=FILLED)
    with pytest.raises(Failed, match=r"Job/.*-engine-.* not ready"):
        site.upgrade("minimal", built(), "--timeout", "15s")
    (build,) = site.pods("engines")
    (why,) = [one for one in build["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert "Insufficient nvidia.com/gpu" in why["message"]


def test_with_a_class_above_tritons_a_full_fleet_makes_room_for_a_build_and_fills_again(site: Site):
    site.nodes(3)
    site.install(values=FILLED)
    with priority_class(site) as name, Watching(site, "triton") as watching:
        site.upgrade(values=built(priorityClassName=name))
        wait_until(lambda: site.ready("triton") == 3, "the pod that made room is back")
    assert engines(site) == {"succeeded": 1}
    assert min(watching.counts) == 2, "one made room and no more"


def built(**more: object) -> Object:
    """The full fleet, with a Job that builds its engine."""
    return {**FULL, "engines": {**JOBS, "cache": PREBUILT["cache"], **more}}


@contextlib.contextmanager
def priority_class(site: Site) -> Iterator[str]:
    """A class of the cluster's that is above what has none."""
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    site.plane.api.create(path, {"metadata": {"name": site.name}, "value": 1000})
    yield site.name
    site.plane.api.delete(f"{path}/{site.name}")


def engines(site: Site) -> dict[str, int]:
    """How many Jobs that build engines there are, by how they went."""
    jobs = site.plane.api.items(site.of("batch/v1", "jobs"), labelSelector="app.kubernetes.io/component=engines")
    return dict(Counter("succeeded" if job["status"].get("succeeded") else "unfinished" for job in jobs))


def test_another_spec_is_another_engine_job_and_the_old_one_is_pruned(site: Site):
    site.nodes(2)

    def jobs() -> set[str]:
        found = site.plane.api.items(site.of("batch/v1", "jobs"))
        return {job["metadata"]["name"] for job in found if "-engine-" in job["metadata"]["name"]}

    site.install(values={"engines": JOBS})
    first = jobs()
    assert len(first) == 1
    site.upgrade(values={"engines": JOBS})
    assert jobs() == first, "the same spec builds nothing"
    site.upgrade(values={"engines": {**JOBS, "tensorrt": "11.3.0"}})
    second = jobs()
    assert len(second) == 1
    assert second.isdisjoint(first)
    (job,) = site.plane.api.items(site.of("batch/v1", "jobs"), labelSelector="app.kubernetes.io/component=engines")
    assert job["status"]["succeeded"] == 1


def test_a_quota_that_is_too_small_is_named_where_one_looks(site: Site):
    site.nodes(3)
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}
    site.plane.api.create(f"{site.path}/resourcequotas", quota)
    with pytest.raises(Failed, match="eyes-eyestream-triton-main"):
        site.install("minimal", FILLED, "--timeout", "15s")
    deployment = site.plane.api.get(site.of("apps/v1", "deployments", "eyes-eyestream-triton-main"))
    (why,) = [one for one in deployment["status"]["conditions"] if one["type"] == "ReplicaFailure"]
    assert "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1" in why["message"]


@pytest.mark.parametrize(("shape", "kind"), [("plain-keda", "ScaledObject"), ("ray", "RayService"), ("mig", "JobSet")])
def test_a_definition_that_is_missing_is_named_and_nothing_is_made(site: Site, shape: str, kind: str):
    before = site.everything()
    with pytest.raises(Failed, match=f'no matches for kind "{kind}"'):
        site.install(shape)
    assert site.everything() == before
