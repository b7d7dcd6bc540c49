"""The RayService against Ray itself: its own schema reads serveConfigV2, and its builder makes our application."""

from __future__ import annotations

import pytest
import yaml
from chartkit.manifests import named, of_kind, pods

from eyestream.errors import Misconfigured

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, where it is imported


@pytest.fixture
def service(rendered):
    def find(values=None):
        (found,) = of_kind(rendered("ray", values), "RayService")
        return found["spec"]

    return find


def test_ray_serve_reads_the_configuration(service):
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load(service()["serveConfigV2"]))
    (application,) = config.applications
    assert application.name == "screening"
    assert application.import_path == "eyestream.apps.rayservice:build"
    assert application.args == {"settings": "/etc/eyestream/settings.toml"}


def test_the_builder_makes_the_application_with_one_worker_a_pod(rendered, tmp_path, monkeypatch):
    from eyestream import settings
    from eyestream.apps.rayservice import build, options

    (tmp_path / "settings.toml").write_text(
        named(rendered("ray", {"settings": {"serve": {"max_replicas": None}}}), "ConfigMap", "-settings")["data"][
            "settings.toml"
        ]
    )
    monkeypatch.setenv("EYESTREAM_REDIS__URL", "redis://redis:6379/0")
    from ray.serve import Application

    assert isinstance(build({"settings": str(tmp_path / "settings.toml")}), Application)
    chosen = options(settings.load(tmp_path / "settings.toml"), partitions=None)
    assert chosen["ray_actor_options"] == {"num_cpus": 1}
    assert chosen["max_replicas_per_node"] == 1
    assert chosen["num_replicas"] == 2


def test_wrong_settings_are_told_by_the_builder(tmp_path):
    from eyestream.apps.rayservice import build

    with pytest.raises(Misconfigured, match="There is no settings file"):
        build({"settings": str(tmp_path / "none.toml")})


def test_a_pod_outlives_serve_s_own_deadline_for_a_drain(service, rendered, tmp_path, monkeypatch):
    from eyestream import settings
    from eyestream.apps.screening import options

    (tmp_path / "settings.toml").write_text(named(rendered("ray"), "ConfigMap", "-settings")["data"]["settings.toml"])
    monkeypatch.setenv("EYESTREAM_REDIS__URL", "redis://redis:6379/0")
    serve = options(settings.load(tmp_path / "settings.toml"), partitions=12)
    for pod in pods(rendered("ray")):
        if "RayService" in pod.owner:
            assert pod.spec["terminationGracePeriodSeconds"] > serve["graceful_shutdown_timeout_s"]
    assert serve["autoscaling_config"].max_replicas == 12


def test_the_pods_of_workers_follow_the_workers(service):
    cluster = service()["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 12)
    assert "replicas" not in group, "Ray's autoscaler owns it"
    assert group["rayStartParams"]["num-cpus"] == "1"

    fixed = service({"ray": {"autoscaling": False}})["rayClusterConfig"]
    (group,) = fixed["workerGroupSpecs"]
    assert "enableInTreeAutoscaling" not in fixed
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (12, 12, 12)


def test_the_head_does_no_screening_and_takes_no_traffic(service):
    spec = service()
    assert spec["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["excludeHeadPodFromServeSvc"] is True
    assert spec["rayClusterConfig"]["rayVersion"] == _pinned("ray")


def _pinned(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


def test_ray_s_dashboard_asks_for_a_token_unless_told_otherwise(service):
    assert service()["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    assert service({"ray": {"auth": "disabled"}})["rayClusterConfig"]["authOptions"] == {"mode": "disabled"}


def test_no_deployment_of_workers_is_left_beside_ray(rendered):
    names = [item["metadata"]["name"] for item in of_kind(rendered("ray"), "Deployment")]
    assert names == ["eyes-eyestream-triton-main"]


def test_the_state_of_the_cluster_may_outlive_its_head(service):
    options = service()["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis.data.svc:6379"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == {"name": "ray-redis", "key": "password"}


def test_ray_s_pods_may_speak_among_themselves_and_the_operator_with_the_head(rendered):
    policy = named(rendered("ray"), "NetworkPolicy", "-eyestream-screening")["spec"]
    own = {"app.kubernetes.io/component": "screening"}
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    assert any(own.items() <= peer.get("podSelector", {}).get("matchLabels", {}).items() for peer in peers)
    (operator,) = [
        rule
        for rule in policy["ingress"]
        if rule["from"][0].get("namespaceSelector", {}).get("matchLabels")
        == {"kubernetes.io/metadata.name": "kuberay-system"}
    ]
    assert {entry["port"] for entry in operator["ports"]} == {8265, 8000}
    ports = [{entry["port"] for entry in rule.get("ports", [])} for rule in policy["egress"]]
    assert {443, 6443} in ports, "the autoscaler asks the API server"


@pytest.mark.parametrize("address", ["redis.data.svc:6380", "rediss://redis.data.svc:6380"])
def test_the_redis_of_ray_s_state_may_be_called_with_tls_or_without(rendered, address):
    objects = rendered("ray", {"ray": {"gcs": {"redisAddress": address}}})
    (service,) = of_kind(objects, "RayService")
    assert service["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]["redisAddress"] == address
    rules = named(objects, "NetworkPolicy", "-eyestream-screening")["spec"]["egress"]
    assert [{"port": 6380, "protocol": "TCP"}] in [rule.get("ports") for rule in rules]
