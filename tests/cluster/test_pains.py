"""Pains of other charts that only a real API server and its controllers can show to be kept out here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from chartkit import render, tools
from controlplane.access import run
from controlplane.cluster import Failed
from controlplane.nodes import volume
from sites import CHART, ENGINES, PREBUILT, Object, Site, wait_until

MINIMAL = render.SHAPES / "minimal-values.yaml"


def test_pain_4_a_volume_of_one_node_is_not_taken_for_the_engines_and_what_waits_for_one_is_named(site: Site):
    site.nodes(2)
    name = f"{site.name}-{ENGINES}"
    narrow = volume(name, claim=(site.name, ENGINES))
    narrow["spec"]["accessModes"] = ["ReadWriteOnce"]
    api = site.plane.api
    api.delete(f"/api/v1/persistentvolumes/{name}")
    wait_until(lambda: not api.exists(f"/api/v1/persistentvolumes/{name}"), "the site's own volume is gone")
    api.create("/api/v1/persistentvolumes", narrow)
    two = {"triton": {"pools": {"main": {"replicas": 2}}}}
    with pytest.raises(Failed, match=rf"(?s){ENGINES}.*not Bound"):
        site.install("minimal", two, "--timeout", "15s")
    assert site.ready("triton") == 0

    api.delete(f"/api/v1/persistentvolumes/{name}")
    wait_until(lambda: not api.exists(f"/api/v1/persistentvolumes/{name}"), "the narrow volume is gone")
    api.create("/api/v1/persistentvolumes", volume(name, claim=(site.name, ENGINES)))
    site.upgrade("minimal", two)
    assert len({pod["spec"]["nodeName"] for pod in site.pods("triton")}) == 2, "two nodes share it"


def test_pain_5_no_pod_goes_to_a_gpu_that_its_engine_was_not_built_for(site: Site):
    site.nodes(2, product="NVIDIA-A100-SXM4-80GB")
    with pytest.raises(Failed, match="eyes-eyestream-triton-main"):
        site.install("minimal", {"engines": PREBUILT}, "--timeout", "15s")
    (pod,) = site.pods("triton")
    (why,) = [one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert "didn't match Pod's node affinity/selector" in why["message"]
    (right,) = site.nodes(1)
    wait_until(lambda: site.ready("triton") == 1, "it found the GPU that it was made for")
    assert [pod["spec"]["nodeName"] for pod in site.pods("triton")] == [right]


def test_pain_7_clients_are_told_of_every_pod_that_serves_their_model_as_pods_come_and_go(site: Site):
    site.nodes(3)
    site.nodes(2, product="NVIDIA-L4")

    def until_told(fast: int, small: int) -> None:
        both = {"fast", "small"}
        for model, pools in {"flair": both, "retfound": {"fast"}}.items():
            told = f"clients of {model} are told of {pools} as they are"
            wait_until(lambda model=model, pools=pools: told_of(site, model) == serving(site, pools), told)
        assert (len(serving(site, both)), len(told_of(site, "retfound"))) == (fast + small, fast)

    site.install("two-pools", pools(fast=2, small=2))
    until_told(fast=2, small=2)
    site.upgrade("two-pools", pools(fast=3, small=1))
    until_told(fast=3, small=1)


def pools(**replicas: int) -> Object:
    each = {name: {"replicas": count} for name, count in replicas.items()}
    return {"triton": {"pools": each}, "engines": PREBUILT}


def told_of(site: Site, model: str) -> set[str]:
    """The addresses that the name of a model's Service stands for: it has none of its own."""
    name = f"eyes-eyestream-grpc-{model}"
    assert site.plane.api.get(f"{site.path}/services/{name}")["spec"]["clusterIP"] == "None"
    slices = site.plane.api.items(
        site.of("discovery.k8s.io/v1", "endpointslices"), labelSelector=f"kubernetes.io/service-name={name}"
    )
    return {
        address
        for item in slices
        for endpoint in item["endpoints"] or []
        if endpoint["conditions"].get("ready")
        for address in endpoint["addresses"]
    }


def serving(site: Site, pools: set[str]) -> set[str]:
    """The addresses of the pods of some pools."""
    return {
        pod["status"]["podIP"] for pod in site.pods("triton") if pod["metadata"]["labels"]["eyestream.io/pool"] in pools
    }


@pytest.fixture
def umbrella(tmp_path: Path) -> Path:
    """A chart of somebody's that has ours inside, and values that all its charts share."""
    chart = tmp_path / "clinic"
    chart.mkdir()
    needs = [{"name": "eyestream", "version": "*", "condition": "eyestream.enabled"}]
    about = {"apiVersion": "v2", "name": "clinic", "version": "1.0.0", "dependencies": needs}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    shutil.copytree(CHART, chart / "charts" / "eyestream")
    values = {"enabled": True, **yaml.safe_load(MINIMAL.read_text())}
    shared = {"region": "north", "certificates": {"issuer": "clinic"}}
    (chart / "values.yaml").write_text(yaml.safe_dump({"global": shared, "eyestream": values}))
    return chart


def test_pain_9_an_umbrella_chart_with_values_of_its_own_installs_it_and_can_turn_it_off(site: Site, umbrella: Path):
    site.nodes(2)
    wait = ("--wait", "--timeout", "4m")
    site.helm("install", "eyes", str(umbrella), *wait)
    assert (site.ready("triton"), site.ready("screening")) == (1, 1)
    site.helm("upgrade", "eyes", str(umbrella), *wait, values={"eyestream": {"enabled": False}})
    wait_until(lambda: not site.pods("triton") + site.pods("screening"), "it is gone")
    with pytest.raises(Failed, match="replica"):
        site.helm("upgrade", "eyes", str(umbrella), *wait, values={"eyestream": {"screening": {"replica": 3}}})


def test_pain_11_who_owns_no_more_than_a_namespace_can_install_it(site: Site):
    """Nothing of it belongs to the cluster: no definition, no role, no webhook."""
    site.nodes(2)
    name = f"tenant-{site.name}"
    where = ["--namespace", site.name, "--kubeconfig", str(site.plane.user(name)), "--wait", "--timeout", "4m"]
    install = [str(tools.helm()), "install", "eyes", CHART, "-f", str(MINIMAL), *where]
    with pytest.raises(Failed, match=rf'{name}" cannot'):
        run(install)
    group = "rbac.authorization.k8s.io"
    site.plane.api.create(
        site.of(f"{group}/v1", "rolebindings"),
        {
            "metadata": {"name": "tenant"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
        },
    )
    run(install)
    assert (site.ready("triton"), site.ready("screening")) == (1, 1)
    run([str(tools.helm()), "uninstall", "eyes", *where])
