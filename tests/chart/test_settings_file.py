"""The ConfigMap against the program that reads it: the worker's own loader takes every shape's settings.toml."""

from __future__ import annotations

import pytest
from chartkit.manifests import named, pods

from eyestream import settings as settings_module


@pytest.fixture
def loaded(rendered, tmp_path, monkeypatch):
    def load(shape, values=None):
        text = named(rendered(shape, values), "ConfigMap", "-settings")["data"]["settings.toml"]
        file = tmp_path / "settings.toml"
        file.write_text(text)
        monkeypatch.setenv("EYESTREAM_REDIS__URL", "rediss://redis:6379/0")
        return settings_module.load(file)

    return load


def test_the_worker_reads_every_shape_s_settings(loaded, shape):
    settings = loaded(shape)
    assert settings.redis.url.get_secret_value() == "rediss://redis:6379/0"
    assert settings.telemetry.metrics_host == "0.0.0.0"
    assert settings.telemetry.metrics_port == 9464


def test_values_reach_the_worker_as_they_were_written(loaded):
    settings = loaded(
        "minimal",
        {
            "settings": {
                "kafka": {"group": 'a "quoted" <group> & é', "session_timeout_ms": 9000},
                "line": {"max_wait_s": 0.0125, "max_in_flight_bytes": 3 * 2**30, "depth": 6},
                "triton": {"timeout_s": 2.5, "may_reload": True},
                "pictures": {"references": ["s3://pictures/", "gs://pictures.example/a"]},
                "telemetry": {"log_level": "WARNING"},
            }
        },
    )
    assert settings.kafka.group == 'a "quoted" <group> & é'
    assert settings.line.max_wait_s == 0.0125
    assert settings.line.max_in_flight_bytes == 3 * 2**30
    assert settings.line.depth == 6
    assert settings.triton.may_reload is True
    assert settings.pictures.references == ("s3://pictures/", "gs://pictures.example/a")


def test_defaults_of_the_chart_are_those_of_the_worker_where_the_chart_does_not_decide(loaded):
    from chartkit import settings as block

    chart, own = loaded("minimal").model_dump(), settings_module.Settings().model_dump()
    decided = {*block.OWNED, *block.DEFAULTS}
    for section, fields in own.items():
        for field, value in fields.items():
            if f"{section}.{field}" not in decided:
                assert chart[section][field] == value, f"{section}.{field}"


def test_kafka_s_secrets_are_files_that_are_mounted_where_the_settings_look(loaded, rendered):
    settings = loaded("mtls-scram")
    security = settings.kafka.security
    assert security["security_protocol"] == "SASL_SSL"
    assert security["sasl_mechanism"] == "SCRAM-SHA-512"
    assert security["sasl_plain_username"] == "region-north"
    assert {name: str(file) for name, file in settings.kafka.security_files.items()} == {
        "sasl_plain_password": "/etc/eyestream/kafka/password"
    }
    (pod,) = [pod for pod in pods(rendered("mtls-scram")) if pod.owner.endswith("-screening")]
    (volume,) = [volume for volume in pod.spec["volumes"] if volume["name"] == "kafka"]
    files = {f"/etc/eyestream/kafka/{item['path']}" for source in volume["projected"]["sources"]
             for item in source["secret"]["items"]}  # fmt: skip
    wanted = {str(value) for name, value in security.items() if name.startswith("ssl_")}
    assert files == wanted | {"/etc/eyestream/kafka/password"}


@pytest.mark.parametrize(
    ("tls", "sasl", "protocol"),
    [(False, "", None), (True, "", "SSL"), (False, "SCRAM-SHA-256", "SASL_PLAINTEXT"), (True, "PLAIN", "SASL_SSL")],
)
def test_the_protocol_follows_from_tls_and_login(loaded, tls, sasl, protocol):
    kafka = {"tls": {"enabled": tls}, "sasl": {"mechanism": sasl, "secret": {"name": "login" if sasl else ""}}}
    settings = loaded("minimal", {"kafka": kafka})
    assert settings.kafka.security.get("security_protocol") == protocol
    assert set(settings.kafka.security_files) == ({"sasl_plain_password", "sasl_plain_username"} if sasl else set())


def test_a_change_of_the_settings_replaces_the_workers_and_nothing_else(rendered):
    def annotations(values):
        return {
            item["metadata"]["name"]: item["spec"]["template"]["metadata"].get("annotations")
            for item in rendered("minimal", values)
            if item["kind"] == "Deployment"
        }

    before, after = annotations({}), annotations({"settings": {"line": {"max_batch": 9}}})
    assert before["eyes-eyestream-screening"] != after["eyes-eyestream-screening"]
    assert before["eyes-eyestream-triton-main"] == after["eyes-eyestream-triton-main"]


def test_triton_s_address_is_the_headless_service_of_the_line_s_model(loaded, rendered):
    host, _, port = loaded("two-pools").triton.address.partition(":")
    name, namespace, _ = host.split(".")
    service = named(rendered("two-pools"), "Service", "-grpc-flair")
    assert (service["metadata"]["name"], namespace, port) == (name, "screening", "8001")
    assert service["spec"]["clusterIP"] == "None"
    assert loaded("external-triton").triton.address == "eyes-eyestream-grpc-retfound.screening.svc:8001"


def test_strimzi_s_topics_take_what_the_worker_sends(rendered, loaded):
    from eyestream.apps.kafka import kafka_options

    options = kafka_options(loaded("strimzi").kafka)
    topics = {item["spec"]["topicName"]: item["spec"] for item in rendered("strimzi") if item["kind"] == "KafkaTopic"}
    assert set(topics) == {options.topic, options.dead_letter_topic}
    assert topics[options.topic]["config"]["max.message.bytes"] == options.max_message_bytes
    assert topics[options.dead_letter_topic]["config"]["max.message.bytes"] >= options.max_dead_letter_bytes
    assert all(topic["partitions"] == 12 for topic in topics.values())
    assert all(topic["config"]["min.insync.replicas"] == 2 for topic in topics.values())


def test_a_program_that_is_called_in_a_pod_of_the_line_finds_its_settings(rendered, shape):
    """`kubectl exec … -- eyestream redrive list`, as the runbook says."""
    found = 0
    for pod in pods(rendered(shape)):
        for container in pod.containers:
            mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
            variables = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
            if "/etc/eyestream/settings.toml" in mounts:
                found += 1
                assert variables["EYESTREAM_SETTINGS"] == "/etc/eyestream/settings.toml"
                assert len(variables) == len(container["env"])
    assert found >= 2
