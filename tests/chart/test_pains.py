"""Sixteen things that hurt users of other charts, each kept out here as far as a rendered chart can show it."""

from __future__ import annotations

import json

import pytest
from chartkit import render
from chartkit.manifests import named, of_kind, pods


def _deployments(objects):
    return {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "Deployment")}


def test_pain_1_a_rollout_on_a_full_fleet_needs_no_spare_gpu(rendered, shape):
    for name, spec in _deployments(rendered(shape)).items():
        if "-triton-" in name and not name.endswith("-small"):  # two-pools sets its own
            assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_pain_2_an_autoscaler_s_replicas_are_never_rendered(rendered, shape):
    objects = rendered(shape)
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in of_kind(objects, "ScaledObject")}
    for name, spec in _deployments(objects).items():
        assert ("replicas" in spec) == (name not in scaled), name
    assert scaled <= _deployments(objects).keys(), "every scaler has its target"


def test_pain_3_a_budget_protects_what_it_names(rendered):
    """That each selects one workload is in test_objects; here: it never allows all pods to go, nor none."""
    for shape in ("minimal", "mig"):
        budgets = of_kind(rendered(shape), "PodDisruptionBudget")
        assert budgets
        assert all(budget["spec"]["maxUnavailable"] == 1 and "minAvailable" not in budget["spec"] for budget in budgets)


def test_pain_3_a_budget_of_ray_s_workers_counts_pods_since_nothing_tells_their_number(rendered):
    """A RayCluster has no scale. From that Kubernetes works out what may be away; without it, it evicts nobody."""

    def least(serve: dict, away: int | str = 1, *, scales: bool = True) -> int:
        values = {"settings": {"serve": serve}, "screening": {"pdb": {"maxUnavailable": away}}}
        objects = rendered("ray", values | {"ray": {"autoscaling": scales}})
        budget = named(objects, "PodDisruptionBudget", "-screening-workers")["spec"]
        assert "maxUnavailable" not in budget
        return budget["minAvailable"]

    assert least({"replicas": 2, "max_replicas": 12}) == 1
    assert least({"replicas": 2, "max_replicas": 12}, scales=False) == 11
    assert least({"replicas": 3, "max_replicas": None}) == 2
    assert least({"replicas": 1}) == 0, "the only worker may go, as with a Deployment"
    assert least({"replicas": 10, "max_replicas": 12}, "25%") == 7, "rounded as Kubernetes rounds"


def test_pain_4_a_volume_that_one_node_has_is_refused_for_many(rendered):
    claim = named(rendered("minimal"), "PersistentVolumeClaim", "-engines")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    with pytest.raises(render.Refused, match="has no ReadWriteMany"):
        rendered("minimal", {"engines": {"cache": {"accessModes": ["ReadWriteOnce"]}}})


def test_pain_5_a_plan_never_runs_on_another_gpu(rendered, shape):
    """The key names encoder, product, slice, compute capability and TensorRT; test_engine_scripts runs the check."""
    for pod in pods(rendered(shape)):
        if "-triton-" not in pod.owner:
            continue
        *builds, check = pod.spec["initContainers"]
        env = {entry["name"]: entry["value"] for entry in check["env"]}
        gpu = [key for key in check["resources"].get("limits", {}) if key.startswith("nvidia.com/")]
        for key in check["args"]:
            if env["ENGINE_GPU"] == "cpu":
                assert key.endswith("/cpu")
            else:
                assert gpu, "the check must see the GPU that Triton will have"
                assert all(gpu[0] in build["resources"]["limits"] for build in builds), "and so must the builds"
                assert pod.spec["nodeSelector"]["nvidia.com/gpu.product"].startswith(env["ENGINE_GPU"])
                for part in (
                    env["ENGINE_GPU"].lower(),
                    env["ENGINE_COMPUTE"],
                    env["ENGINE_MIG"],
                    env["ENGINE_TENSORRT"],
                ):
                    assert part in key


def test_pain_6_triton_finishes_what_it_began(rendered, shape):
    for pod in pods(rendered(shape)):
        if "-triton-" in pod.owner:
            (triton,) = pod.spec["containers"]
            (sleep,) = [triton["lifecycle"]["preStop"]["exec"]["command"]]
            (timeout,) = [argument for argument in triton["args"] if argument.startswith("--exit-timeout-secs=")]
            waited = int(sleep[1]) + int(timeout.partition("=")[2])
            assert sleep[0] == "sleep"
            assert int(sleep[1]) > 0
            assert pod.spec["terminationGracePeriodSeconds"] > waited
            assert triton["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
            assert "--strict-readiness=true" in triton["args"]


def test_pain_6_a_worker_has_the_time_that_its_drain_may_take(rendered):
    for drain_s in (60.0, 12.5, 300.0):
        values = {"settings": {"serve": {"drain_timeout_s": drain_s}}}
        spec = _deployments(rendered("minimal", values))["eyes-eyestream-screening"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= drain_s + 15


def test_pain_6_ray_lets_a_worker_drain_before_it_kills_it(rendered):
    for drain_s, grace_s in ((60.0, 30), (12.5, 15)):
        values = {"settings": {"serve": {"drain_timeout_s": drain_s}}, "screening": {"graceSeconds": grace_s}}
        for pod in pods(rendered("ray", values)):
            if "RayService" in pod.owner:
                env = {one["name"]: one.get("value") for one in pod.spec["containers"][0]["env"]}
                limit_s = int(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
                assert drain_s < limit_s < pod.spec["terminationGracePeriodSeconds"]


def test_pain_7_clients_see_every_pod_of_triton_also_those_that_come_later(rendered, shape):
    if shape == "external-triton":
        return
    objects = rendered(shape)
    services = [item for item in of_kind(objects, "Service") if "-grpc-" in item["metadata"]["name"]]
    assert services
    assert all(service["spec"]["clusterIP"] == "None" for service in services)
    for pod in pods(objects):
        if "-triton-" in pod.owner:
            assert any(
                argument.startswith("--grpc-max-connection-age=") for argument in pod.spec["containers"][0]["args"]
            )


def test_pain_7_a_model_s_service_covers_every_pool_that_serves_it_and_no_other(rendered):
    objects = rendered("two-pools")
    for model, pools in {"flair": {"fast", "small"}, "retfound": {"fast"}}.items():
        selector = named(objects, "Service", f"-grpc-{model}")["spec"]["selector"]
        assert {
            pod.labels["eyestream.io/pool"] for pod in pods(objects) if selector.items() <= pod.labels.items()
        } == pools


def test_pain_8_every_cache_and_home_is_writable_though_root_is_not(rendered):
    (triton,) = [pod for pod in pods(rendered("minimal")) if "-triton-" in pod.owner]
    env = {entry["name"]: entry["value"] for entry in triton.spec["containers"][0]["env"]}
    mounts = {mount["mountPath"]: mount for mount in triton.spec["containers"][0]["volumeMounts"]}
    assert env["HOME"] == "/tmp"
    assert {"/tmp", "/dev/shm"} <= mounts.keys()
    assert mounts["/engines"]["readOnly"] is True


def test_pain_9_a_strict_schema_bears_an_umbrella_chart():
    schema = json.loads((render.CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert schema["properties"]["global"]["additionalProperties"] is True
    assert schema["properties"]["enabled"]["type"] == "boolean"


def test_pain_10_nothing_waits_for_a_hook_and_only_the_test_is_one(rendered, shape):
    for item in rendered(shape):
        hook = item["metadata"].get("annotations", {}).get("helm.sh/hook")
        assert hook in {None, "test"}
        if item["kind"] == "Job":
            assert "ttlSecondsAfterFinished" not in item["spec"], "a controller of Git would make it anew for ever"


def test_pain_11_no_operator_and_no_definition_comes_with_the_chart(rendered, shape):
    assert not (render.CHART / "charts").exists()
    assert not (render.CHART / "crds").exists()
    assert not of_kind(rendered(shape), "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role")


def test_pain_12_policies_let_names_and_metrics_through(rendered, shape):
    if shape == "external-triton":
        assert not of_kind(rendered(shape), "NetworkPolicy"), "its values turn them off"
        return
    objects = rendered(shape)
    policies = {item["metadata"]["name"].removeprefix("eyes-eyestream"): item["spec"] for item in
                of_kind(objects, "NetworkPolicy")}  # fmt: skip
    assert policies[""]["podSelector"]["matchLabels"].keys() == {
        "app.kubernetes.io/name", "app.kubernetes.io/instance"}  # fmt: skip
    for name in ("-screening", "-test"):
        ports = [entry for rule in policies[name]["egress"] for entry in rule.get("ports", []) if entry["port"] == 53]
        assert {entry["protocol"] for entry in ports} == {"UDP", "TCP"}
    for name, port in (("-screening", 9464), ("-triton", 8002)):
        assert any({"port": port, "protocol": "TCP"} in rule.get("ports", []) for rule in policies[name]["ingress"])


def test_pain_12_policies_follow_the_brokers_ports(rendered):
    def ports(values):
        rules = named(rendered("minimal", values), "NetworkPolicy", "-eyestream-screening")["spec"]["egress"]
        return [[entry["port"] for entry in rule["ports"]] for rule in rules]

    assert [9092] in ports({})
    assert [9093, 19093] in ports({"settings": {"kafka": {"bootstrap": "a:9093, b:19093,c:9093"}}})
    assert [9999] in ports({"networkPolicy": {"kafka": {"ports": [9999]}}})


def test_pain_12_names_are_asked_for_where_openshift_has_them(rendered):
    dns = {
        "namespaceLabels": {"kubernetes.io/metadata.name": "openshift-dns"},
        "podLabels": {"k8s-app": None, "dns.operator.openshift.io/daemonset-dns": "default"},
        "ports": [5353],
    }
    rule, *_ = named(rendered("minimal", {"networkPolicy": {"dns": dns}}), "NetworkPolicy", "-screening")["spec"][
        "egress"
    ]
    assert rule["to"][0]["podSelector"] == {"matchLabels": {"dns.operator.openshift.io/daemonset-dns": "default"}}
    documented = (render.CHART / "README.md").read_text()
    assert "`k8s-app: null`" in documented, "Helm adds labels to the default one: who is not told blocks every name"


def test_pain_13_a_new_ray_cluster_beside_the_old_one_needs_no_gpu(rendered):
    for pod in pods(rendered("ray")):
        if "RayService" in pod.owner:
            for container in pod.containers:
                assert not [key for key in container["resources"]["limits"] if key.startswith("nvidia.com/")]


def test_pain_14_no_image_comes_from_a_catalogue_that_closed(rendered, shape):
    for pod in pods(rendered(shape)):
        assert all("bitnami" not in container["image"] for container in pod.containers)


def test_pain_15_keda_scales_within_the_partitions_and_never_to_zero(rendered):
    for shape in ("plain-keda", "strimzi", "mtls-scram"):
        scaled = named(rendered(shape), "ScaledObject", "-screening")["spec"]
        assert scaled["minReplicaCount"] >= 1
        assert "idleReplicaCount" not in scaled
        assert scaled["fallback"]["behavior"] == "currentReplicasIfHigher"
        (trigger,) = scaled["triggers"]
        assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes strings alone"
        assert trigger["metadata"]["offsetResetPolicy"] == "earliest"
        assert "scaleToZeroOnInvalidOffset" not in trigger["metadata"]
        assert "allowIdleConsumers" not in trigger["metadata"]
    values = {"kafka": {"partitions": 25}, "settings": {"serve": {"max_replicas": 25}}}
    assert named(rendered("plain-keda", values), "ScaledObject", "-screening")["spec"]["maxReplicaCount"] == 25


def test_pain_15_keda_reads_the_topic_of_the_workers_with_the_secrets_of_the_workers(rendered):
    objects = rendered("mtls-scram")
    scaled = named(objects, "ScaledObject", "-screening")["spec"]
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["consumerGroup"] == "region-north"
    assert trigger["metadata"]["topic"] == "screening.images"
    assert (trigger["metadata"]["tls"], trigger["metadata"]["sasl"]) == ("enable", "scram_sha512")
    login = named(objects, "TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]
    assert {entry["parameter"]: (entry["name"], entry["key"]) for entry in login["secretTargetRef"]} == {
        "ca": ("kafka-ca", "ca.crt"),
        "cert": ("kafka-client", "tls.crt"),
        "key": ("kafka-client", "tls.key"),
        "password": ("kafka-password", "password"),
    }
    (username,) = login["configMapTargetRef"]
    assert named(objects, "ConfigMap", username["name"])["data"][username["key"]] == "region-north"


def test_pain_15_a_trigger_without_secrets_names_none(rendered):
    (trigger,) = named(rendered("plain-keda"), "ScaledObject", "-screening")["spec"]["triggers"]
    assert "authenticationRef" not in trigger
    assert not of_kind(rendered("plain-keda"), "TriggerAuthentication")


def test_pain_16_slices_and_shares_are_asked_for_by_their_own_names(rendered):
    limits = {
        pod.labels["eyestream.io/pool"]: [
            key for key in pod.spec["containers"][0]["resources"]["limits"] if key.startswith("nvidia.com/")
        ]
        for pod in pods(rendered("mig"))
        if "-triton-" in pod.owner
    }
    assert limits == {"slices": ["nvidia.com/mig-2g.20gb"], "shared": ["nvidia.com/gpu.shared"]}
    (shared,) = [pod for pod in pods(rendered("mig")) if pod.labels.get("eyestream.io/pool") == "shared"]
    assert shared.spec["runtimeClassName"] == "nvidia"
    assert shared.spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4-SHARED"}
    cpu = [pod for pod in pods(rendered("dev")) if "-triton-" in pod.owner]
    assert "nvidia.com" not in json.dumps([pod.spec for pod in cpu])
