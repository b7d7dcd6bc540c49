"""What holds for every object of every shape."""

from __future__ import annotations

import collections
import os
import subprocess
import time

import pytest
from chartkit import manifests
from chartkit.manifests import named, of_kind, picked, pods, selectors

ALLOWED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
                   "projected", "secret"}  # fmt: skip
"""What the restricted Pod Security standard allows."""


def test_no_two_objects_share_a_name(rendered, shape):
    names = collections.Counter((item["kind"], item["metadata"]["name"]) for item in rendered(shape))
    assert [name for name, count in names.items() if count > 1] == []


def test_every_object_says_whose_it_is(rendered, shape):
    for item in rendered(shape):
        if item["metadata"]["name"].endswith("-extra"):
            continue
        labels = item["metadata"]["labels"]
        assert item["metadata"]["namespace"] == "screening"
        assert labels["app.kubernetes.io/instance"] == "eyes"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/component"]


def test_names_leave_room_for_what_kubernetes_adds(rendered):
    objects = rendered("ray", {"fullnameOverride": "a" * 30})
    (service,) = of_kind(objects, "RayService")
    assert len(service["metadata"]["name"]) <= 41, "KubeRay adds -raycluster-xxxxx and -head-svc, 63 in all"
    assert all(len(item["metadata"]["name"]) <= 63 for item in objects)


def test_every_selector_matches_exactly_one_workload(rendered, shape):
    """Save those that mean several: the release's default refusal, Triton's pools together, the builds together."""
    objects = rendered(shape)
    among = pods(objects)
    for name, selector in selectors(objects):
        found = {
            pod.owner.rsplit("/", 1)[0] if "RayService" in pod.owner else pod.owner for pod in picked(selector, among)
        }
        component = selector.get("app.kubernetes.io/component")
        if component is None or (component in {"triton", "engines"} and "eyestream.io/pool" not in selector):
            assert found, f"{name} selects nothing: {selector}"
            assert component is None or all(f"/eyes-eyestream-{component[:6]}" in owner for owner in found)
        elif component == "test" and "peer" in name:
            continue  # the test's pod comes and goes
        else:
            assert len(found) == 1, f"{name} selects {sorted(found)}"


def _workload(owner: str) -> str:
    """Ray's head and workers are one."""
    return "/".join(owner.split("/")[:2])


def test_a_budget_and_its_workload_have_the_same_selector(rendered, shape):
    objects = rendered(shape)
    for budget in of_kind(objects, "PodDisruptionBudget"):
        (pod,) = picked(budget["spec"]["selector"]["matchLabels"], pods(objects))
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert budget["metadata"]["name"] in pod.owner.replace("screening/", "screening-")


def test_whom_a_part_may_call_lets_it_in(rendered, shape):
    """A way out to another part of the release is no way while that part's own policy is shut."""
    objects = rendered(shape)
    ways_in = [
        (policy["spec"]["podSelector"]["matchLabels"], peer["podSelector"]["matchLabels"], port["port"])
        for policy in of_kind(objects, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for peer in rule.get("from", [])
        if "namespaceSelector" not in peer
        for port in rule.get("ports", [{"port": "any"}])
    ]
    for policy in of_kind(objects, "NetworkPolicy"):
        caller = policy["spec"]["podSelector"]["matchLabels"]
        for rule in policy["spec"].get("egress", []):
            for called in [
                peer["podSelector"]["matchLabels"] for peer in rule.get("to", []) if peer.keys() == {"podSelector"}
            ]:
                for port in rule.get("ports", [{"port": "any"}]):
                    assert (called, caller, port["port"]) in ways_in, f"{caller} is not let in by {called}"


def test_workers_have_the_time_that_triton_s_engines_take(rendered):
    """They are ready when it is: to call their rollout failed ends `helm install --wait` while an engine is built."""
    for shape in ("minimal", "two-pools", "dev"):
        deployments = {item["metadata"]["name"]: item["spec"] for item in of_kind(rendered(shape), "Deployment")}
        workers = deployments.pop("eyes-eyestream-screening")["progressDeadlineSeconds"]
        assert all(
            workers > spec["progressDeadlineSeconds"] for name, spec in deployments.items() if "-triton-" in name
        )
    assert "progressDeadlineSeconds" not in named(rendered("external-triton"), "Deployment", "-screening")["spec"]


def test_every_pod_satisfies_the_restricted_pod_security_standard(rendered, shape):
    for pod in pods(rendered(shape)):
        spec = pod.spec
        assert spec["securityContext"]["runAsNonRoot"] is True, pod.owner
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec.get("volumes", []):
            assert volume.keys() - {"name"} <= ALLOWED_VOLUMES, f"{pod.owner}: {volume}"
        for container in pod.containers:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, f"{pod.owner}/{container['name']}"
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_ray_s_autoscaler_is_restricted_too(rendered):
    (service,) = of_kind(rendered("ray"), "RayService")
    options = service["spec"]["rayClusterConfig"]["autoscalerOptions"]
    assert options["securityContext"]["allowPrivilegeEscalation"] is False
    assert options["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_root_file_system_is_read_only_and_home_and_tmp_are_not(rendered, shape):
    for pod in pods(rendered(shape)):
        writable = {volume["name"] for volume in pod.spec.get("volumes", []) if "emptyDir" in volume}
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            if container["name"] in {"engines", "redis"}:
                continue  # shell and Redis write nothing outside their volumes
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts["/tmp"] in writable, f"{pod.owner}/{container['name']}"
            home = {entry["name"]: entry.get("value") for entry in container.get("env", [])}.get("HOME", "/tmp")
            assert home == "/tmp"


def test_pods_that_try_the_line_go_where_the_workers_may(rendered):
    """On a cluster whose nodes are all tainted they would wait for ever."""
    chosen = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "screening", "operator": "Exists"}],
        "priorityClassName": "screening",
    }
    found = {pod.owner: pod.spec for pod in pods(rendered("dev", {"screening": chosen}))}
    for owner in [name for name in found if name.startswith("Job/")]:
        assert found[owner].items() >= chosen.items(), owner
        assert "topologySpreadConstraints" not in found[owner]


def test_no_pod_gets_a_token_or_service_variables_it_does_not_need(rendered, shape):
    for pod in pods(rendered(shape)):
        assert pod.spec["enableServiceLinks"] is False, "EYESTREAM_… variables of a Service would stop the worker"
        if not pod.owner.endswith("/head"):
            assert pod.spec["automountServiceAccountToken"] is False


def test_only_ray_s_autoscaler_may_ask_the_api_server(rendered):
    def head(values: dict) -> manifests.Pod:
        (found,) = [pod for pod in pods(rendered("ray", values)) if pod.owner.endswith("/head")]
        return found

    assert head({"ray": {"autoscaling": True}}).spec["automountServiceAccountToken"] is True
    assert head({"ray": {"autoscaling": False}}).spec["automountServiceAccountToken"] is False


def test_every_mount_has_its_volume_and_every_volume_its_mount(rendered, shape):
    for pod in pods(rendered(shape)):
        volumes = [volume["name"] for volume in pod.spec.get("volumes", [])]
        mounts = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
        if "StatefulSet" in pod.owner:
            mounts.discard("data")
            volumes = [name for name in volumes if name != "data"]
        assert len(volumes) == len(set(volumes))
        assert mounts == set(volumes), pod.owner


def test_every_container_asks_for_memory_and_cpu_and_bounds_memory(rendered, shape):
    for pod in pods(rendered(shape)):
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), f"{pod.owner}/{container['name']}"
            assert "memory" in resources["limits"]
            assert "cpu" not in resources["limits"], "a CPU limit throttles what decodes"


def test_every_server_has_its_probes(rendered, shape):
    for pod in pods(rendered(shape)):
        for container in pod.spec["containers"]:
            if container["name"] in {"triton", "redis", "ray", "screening", "web"}:
                assert {"readinessProbe", "livenessProbe"} <= container.keys(), pod.owner
            for probe in (
                container.get("readinessProbe"),
                container.get("livenessProbe"),
                container.get("startupProbe"),
            ):
                if probe and "httpGet" in probe:
                    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                    port = probe["httpGet"]["port"]
                    assert port in ports or isinstance(port, int)


@pytest.mark.parametrize(("age_s", "lives"), [(None, True), (0, True), (60, True), (80, False)])
def test_a_worker_lives_while_it_touches_its_file_or_has_none_yet(rendered, tmp_path, age_s, lives):
    """The probe's own command, run against a file of that age; 70 s are allowed."""
    (container,) = named(rendered("minimal"), "Deployment", "-screening")["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--alive-file", "/tmp/alive"]
    alive = tmp_path / "alive"
    if age_s is not None:
        alive.touch()
        os.utime(alive, times=(time.time() - age_s,) * 2)
    command = [part.replace("/tmp/alive", str(alive)) for part in container["livenessProbe"]["exec"]["command"]]
    assert (subprocess.run(command, check=False).returncode == 0) is lives


def test_a_worker_whose_health_is_asked_seldom_is_given_longer(rendered):
    objects = rendered("minimal", {"settings": {"serve": {"health_period_s": 20.5}}})
    (container,) = named(objects, "Deployment", "-screening")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["exec"]["command"][-1].endswith("-lt 165")


def test_every_claim_secret_account_and_config_map_is_rendered_or_named_by_the_user(rendered, shape):
    objects = rendered(shape)
    own = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for pod in pods(objects):
        account = pod.spec.get("serviceAccountName")
        assert account in {None, "default"} or ("ServiceAccount", account) in own
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in own
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
            assert not claim.startswith("eyes-eyestream") or ("PersistentVolumeClaim", claim) in own


def test_no_secret_is_rendered_and_none_is_read_into_the_settings(rendered, shape):
    objects = rendered(shape)
    assert of_kind(objects, "Secret") == []
    settings = named(objects, "ConfigMap", "-settings")["data"]["settings.toml"]
    assert "password =" not in settings
    assert "redis://" not in settings
    assert "rediss://" not in settings


def test_ray_s_state_is_cleared_by_a_pod_that_needs_nothing_of_the_release(rendered):
    """KubeRay makes it from the head's template when the release is gone, and holds the cluster until it is done."""
    objects = rendered("ray", {"ray": {"autoscaling": False}})
    made = {item["metadata"]["name"] for item in objects}
    (head,) = [pod for pod in pods(objects) if pod.owner.endswith("/head")]
    assert "serviceAccountName" not in head.spec
    for volume in head.spec["volumes"]:
        for source in (volume.get("configMap", {}), volume.get("secret", {})):
            assert source.get("name", source.get("secretName")) not in made or source["optional"]


@pytest.mark.parametrize("shape_", ["minimal", "ray"])
def test_the_image_of_every_container_is_pinned_by_tag(rendered, shape_):
    for pod in pods(rendered(shape_)):
        for container in pod.containers:
            name, _, tag = container["image"].rpartition(":")
            assert name
            assert tag not in {"", "latest"}


@pytest.mark.parametrize("registry", ["", "registry.hospital.example", "registry.hospital.example/"])
def test_a_registry_may_be_part_of_the_repository_or_end_in_a_slash(rendered, registry):
    (screening,) = [pod for pod in pods(rendered("minimal", _images(registry))) if pod.owner.endswith("-screening")]
    assert screening.spec["containers"][0]["image"] == "registry.hospital.example/eyes/screening:1"


def _images(registry):
    repository = "eyes/screening" if registry else "registry.hospital.example/eyes/screening"
    return {"images": {"screening": {"registry": registry, "repository": repository, "tag": "1"}}}


def test_every_image_comes_from_the_one_registry_and_by_digest_where_the_cluster_is_air_gapped(rendered):
    for pod in pods(rendered("air-gapped")):
        assert pod.spec["imagePullSecrets"] == [{"name": "registry"}]
        for container in pod.containers:
            assert container["image"].startswith("registry.hospital.example/")
            assert "@sha256:" in container["image"]


def test_images_and_pods_of_an_air_gapped_cluster_reach_only_kafka_redis_triton_and_dns(rendered):
    policy = named(rendered("air-gapped"), "NetworkPolicy", "-screening")
    assert all("to" in rule for rule in policy["spec"]["egress"]), "a rule without `to` is a way out"
