"""The results service in the chart: off unless asked for, guarded, and reachable by whom the values name alone."""

from __future__ import annotations

import pytest
from chartkit.manifests import named, of_kind, pods

from eyestream import settings as settings_module
from eyestream.apps.web_wiring import guard

ISSUER = {"web": {"enabled": True}, "settings": {"web": {"issuer": "https://login.example/realms/eyes"}}}


def _pod(objects):
    (found,) = [pod for pod in pods(objects) if pod.owner.endswith("-web")]
    return found


def _policy(objects):
    return named(objects, "NetworkPolicy", "eyestream-web")["spec"]


def test_nothing_of_it_is_rendered_unless_asked_for(rendered):
    assert not [item for item in rendered("minimal") if item["metadata"]["name"].endswith("-web")]


def test_the_service_reads_the_chart_s_settings_and_lets_key_holders_in(rendered, tmp_path, monkeypatch):
    objects = rendered("plain-keda")
    (container,) = _pod(objects).containers
    for entry in container["env"]:
        if "value" in entry:
            monkeypatch.setenv(entry["name"], entry["value"])
    monkeypatch.setenv("EYESTREAM_REDIS__URL", "rediss://redis:6379/0")
    keys = {entry["name"]: entry.get("value") for entry in container["env"]}["EYESTREAM_WEB__API_KEYS"]
    mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "keys")
    volume = next(volume for volume in _pod(objects).spec["volumes"] if volume["name"] == "keys")
    assert keys == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert "subPath" not in mount, "a file mounted by subPath would never show a new key"
    local = tmp_path / "keys.toml"
    local.write_text("")
    monkeypatch.setenv("EYESTREAM_WEB__API_KEYS", str(local))

    file = tmp_path / "settings.toml"
    file.write_text(named(objects, "ConfigMap", "-settings")["data"]["settings.toml"])
    settings = settings_module.load(file)
    guard(settings)
    assert settings.web.host == "0.0.0.0"
    assert settings.web.processes == 1
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.web.port, "metrics": settings.telemetry.metrics_port}


def test_an_issuer_needs_no_secret_of_keys(rendered):
    pod = _pod(rendered("minimal", ISSUER))
    assert "keys" not in {volume["name"] for volume in pod.spec["volumes"]}
    assert "EYESTREAM_WEB__API_KEYS" not in {entry["name"] for entry in pod.containers[0]["env"]}


def test_its_port_is_the_settings(rendered):
    values = {**ISSUER, "settings": {"web": {"issuer": "https://login.example", "port": 8443}}}
    values["web"] = {"enabled": True, "clients": [{"podSelector": {}}]}
    objects = rendered("minimal", values)
    assert {"name": "http", "containerPort": 8443} in _pod(objects).containers[0]["ports"]
    assert _policy(objects)["ingress"][-1]["ports"] == [{"port": 8443, "protocol": "TCP"}]
    (port,) = named(objects, "Service", "-web")["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_only_the_named_clients_and_prometheus_reach_it(rendered):
    metrics, clients = _policy(rendered("plain-keda"))["ingress"]
    assert metrics["ports"] == [{"port": 9464, "protocol": "TCP"}]
    assert clients["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]
    assert len(_policy(rendered("minimal", ISSUER))["ingress"]) == 1, "without clients, Prometheus alone"


@pytest.mark.parametrize("part", ["triton", "redis"])
def test_what_it_speaks_to_lets_it_in(rendered, part):
    objects = rendered("dev", ISSUER)
    sources = named(objects, "NetworkPolicy", f"eyestream-{part}")["spec"]["ingress"][0]["from"]
    components = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in sources}
    assert "web" in components


def test_a_leaving_pod_ends_its_answers_before_it_is_killed(rendered):
    spec = _pod(rendered("minimal", ISSUER)).spec
    (pause,) = [int(word) for word in spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1:]]
    assert spec["terminationGracePeriodSeconds"] >= pause + 10


def test_it_stays_while_nodes_drain_and_roll(rendered):
    objects = rendered("minimal", ISSUER)
    (deployment,) = [item for item in of_kind(objects, "Deployment") if item["metadata"]["name"].endswith("-web")]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert named(objects, "PodDisruptionBudget", "-web")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(
    ("values", "pictures", "letters"),
    [
        ({}, {"Read"}, {"Write"}),
        ({"web": {"enabled": True, "keysSecret": {"name": "k"}}}, {"Read", "Write"}, {"Read", "Write"}),
        ({"loadTest": {"enabled": True}}, {"Read", "Write"}, {"Write"}),
        ({"tests": {"programme": "test"}}, {"Read", "Write"}, {"Write"}),
    ],
    ids=["the line", "who puts dead letters back", "a load test", "a test with a picture"],
)
def test_strimzi_s_user_may_do_what_those_who_log_in_as_it_do_and_no_more(rendered, values, pictures, letters):
    acls = named(rendered("strimzi", values), "KafkaUser", "-screening")["spec"]["authorization"]["acls"]
    may = {acl["resource"]["name"]: set(acl["operations"]) - {"Describe", "DescribeConfigs"} for acl in acls}
    assert may == {"screening.images": pictures, "screening.images.dlq": letters, "eyestream-screening": {"Read"}}
