"""Engines as one JobSet under JobSet's own operator and webhooks; what a queue does to Jobs is played."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from controlplane.cluster import ControlPlane
from controlplane.operators import JobSets
from sites import Object, Site, wait_until

JOBSETS = ("jobset.x-k8s.io/v1alpha2", "jobsets")
JOBS = ("batch/v1", "jobs")
ENGINES = "app.kubernetes.io/component=engines"
OWNED = "jobset.sigs.k8s.io/jobset-name"
SLICES = {"nvidia.com/mig-2g.20gb": 3}
SHARES = {"nvidia.com/gpu.shared": 4}
HOOKS_ONLY = "--wait=hookOnly"
"""Where there is no GPU yet, Helm would wait for it."""


@pytest.fixture(scope="module")
def jobset_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same plane with JobSet's operator beside it; the plane's own `down` ends it too."""
    jobsets = ControlPlane(plane.state, beside=[JobSets(plane.keys)])
    jobsets.up()
    yield jobsets
    jobsets.close()


@pytest.fixture
def site(jobset_plane: ControlPlane) -> Iterator[Site]:
    with Site(jobset_plane) as site:
        yield site


def test_every_engine_is_built_where_its_gpu_is_as_one_unit(site: Site):
    sliced, shared = gpus(site)
    site.install("mig", values())
    (jobset,) = sets(site)
    wait_until(lambda: "Completed" in conditions(site), lambda: f"both are built: {sets(site)[0].get('status')}")
    assert sorted(pod["spec"]["nodeName"] for pod in site.pods("engines")) == sorted([sliced, shared])
    owners = {job["metadata"]["ownerReferences"][0]["uid"] for job in site.plane.api.items(site.of(*JOBS))}
    assert owners == {jobset["metadata"]["uid"]}


def test_the_same_engines_are_not_built_again_and_others_take_their_place(site: Site):
    gpus(site)
    site.install("mig", values())
    wait_until(lambda: "Completed" in conditions(site), "they are built")
    (first,) = sets(site)
    built = jobs(site)
    assert len(built) == 2
    site.upgrade("mig", values())  # what the webhooks filled in is no conflict
    (again,) = sets(site)
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["metadata"]["generation"] == 1, "what is rendered is what the webhooks store"
    assert jobs(site) == built

    site.upgrade("mig", values(tensorrt="11.3.0"))
    wait_until(lambda: first["metadata"]["name"] not in [item["metadata"]["name"] for item in sets(site)], "it is gone")
    wait_until(lambda: "Completed" in conditions(site), "the others are built")
    wait_until(lambda: len(jobs(site)) == 2 and built.isdisjoint(jobs(site)), "the first ones' Jobs went with them")


def test_a_jobset_that_changed_in_place_would_be_refused(site: Site):
    """Why its name is the hash of what it builds."""
    site.install("mig", values(), HOOKS_ONLY)
    (jobset,) = sets(site)
    path = site.of(*JOBSETS, jobset["metadata"]["name"])
    (first, *others) = jobset["spec"]["replicatedJobs"]
    with pytest.raises(httpx.HTTPStatusError) as refused:
        site.plane.api.merge(path, {"spec": {"replicatedJobs": [{**first, "replicas": 2}, *others]}})
    assert "vjobset.kb.io" in refused.value.response.text
    assert "field is immutable" in refused.value.response.text


@pytest.mark.parametrize(("mode", "kind", "count"), [("job", JOBS, 2), ("jobset", JOBSETS, 1)])
def test_what_a_queue_has_suspended_stays_so_through_an_upgrade_until_the_queue_lets_it_go(
    site: Site, mode: str, kind: tuple[str, str], count: int
):
    """Kueue does not run here; what it writes is written by hand: `suspend`, in its own name."""
    queued = values(mode=mode, queue="gpu-builds")
    site.install("mig", queued, HOOKS_ONLY)
    found = site.plane.api.items(site.of(*kind), labelSelector=ENGINES)
    assert [item["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for item in found] == ["gpu-builds"] * count
    names = [item["metadata"]["name"] for item in found]

    suspend(site, kind, names, "true")
    wait_until(lambda: not site.pods("engines"), "their pods are taken away")
    gpus(site)
    site.upgrade("mig", {**queued, "settings": {"line": {"max_batch": 4}}}, HOOKS_ONLY)
    found = site.plane.api.items(site.of(*kind), labelSelector=ENGINES)
    assert [(item["metadata"]["name"], item["spec"]["suspend"]) for item in found] == [(name, True) for name in names]
    assert not site.pods("engines"), "though there are GPUs now"

    suspend(site, kind, names, "false")
    wait_until(
        lambda: [pod["status"]["phase"] for pod in site.pods("engines")] == ["Succeeded"] * 2, "both engines are built"
    )
    site.upgrade("mig", queued)


def gpus(site: Site) -> tuple[str, str]:
    """A node with slices, one with shares, and one for what needs no GPU."""
    (sliced,) = site.nodes(1, product="NVIDIA-A100-SXM4-80GB", resources=SLICES, tainted=True)
    (shared,) = site.nodes(1, product="NVIDIA-L4-SHARED", resources=SHARES)
    site.nodes(1)
    return sliced, shared


def values(*, mode: str = "jobset", queue: str = "", **engines: str) -> Object:
    """Two pools of one pod each, whose engines are built."""
    pools = {"slices": {"replicas": 1}, "shared": {"replicas": 1}}
    return {"engines": {"mode": mode, "queue": queue, **engines}, "triton": {"pools": pools}}


def suspend(site: Site, kind: tuple[str, str], names: list[str], value: str) -> None:
    _, plural = kind
    for name in names:
        patch = f'{{"spec": {{"suspend": {value}}}}}'
        site.plane.kubectl("patch", plural, name, "-n", site.name, "--type=merge", "--field-manager=kueue", "-p", patch)


def sets(site: Site) -> list[Object]:
    return site.plane.api.items(site.of(*JOBSETS))


def jobs(site: Site) -> set[str]:
    """The identities of the Jobs that build."""
    return {job["metadata"]["uid"] for job in site.plane.api.items(site.of(*JOBS), labelSelector=OWNED)}


def conditions(site: Site) -> set[str]:
    """What holds of all of the site's JobSets."""
    each = [
        {one["type"] for one in item.get("status", {}).get("conditions", []) if one["status"] == "True"}
        for item in sets(site)
    ]
    return set.intersection(*each) if each else set()
