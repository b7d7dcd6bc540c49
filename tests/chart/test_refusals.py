"""Wrong values are refused before anything is created, with a sentence that says what to write."""

from __future__ import annotations

import re

import pytest
import yaml
from chartkit import render

MINIMAL = yaml.safe_load((render.SHAPES / "minimal-values.yaml").read_text())


def _over(weak, strong):
    """The values of one file with those of the case over them; None takes a key away."""
    merged = dict(weak)
    for key, value in strong.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _over(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def _pool(**fields):
    return {"triton": {"pools": {"main": fields}}}


def _gpu(**fields):
    return {"gpus": {"own": fields}, "triton": {"pools": {"main": {"gpu": "own"}}}}


def _checkpoint(**fields):
    empty = {"bundled": None, "claim": None, "image": None, "url": None, "path": None}
    return {"models": {"flair": {"checkpoint": empty | fields}}}


def _serve(**fields):
    return {"settings": {"serve": fields}}


_GPU = {"resource": "nvidia.com/gpu", "product": "NVIDIA-L4", "computeCapability": "8.9"}

WRONG = {
    "no brokers": ({"settings": {"kafka": {"bootstrap": ""}}}, "settings.kafka.bootstrap is empty: write host:port"),
    "a broker without port": (
        {"settings": {"kafka": {"bootstrap": "kafka"}}}, 'settings.kafka.bootstrap holds "kafka": write host:port'),
    "a broker with scheme": (
        {"settings": {"kafka": {"bootstrap": "kafka://a:9092"}}}, "write host:port, separated by commas"),
    "TLS options in the settings": (
        {"settings": {"kafka": {"security": {"ssl_cafile": "/ca.crt"}}}},
        "settings.kafka.security.ssl_cafile is made by the chart: set kafka.tls and kafka.sasl instead"),
    "a password in the settings": (
        {"settings": {"kafka": {"security": {"sasl_plain_password": "x"}}}},
        "settings.kafka.security.sasl_plain_password is made by the chart"),
    "a key's password in the settings": (
        {"settings": {"kafka": {"security": {"ssl_password": "x"}}}},
        "settings.kafka.security.ssl_password would stand in a ConfigMap"),
    "a certificate without TLS": (
        {"kafka": {"tls": {"certSecret": {"name": "client"}}}}, "set kafka.tls.enabled to true"),
    "a login without secret": (
        {"kafka": {"sasl": {"mechanism": "SCRAM-SHA-512"}}}, "name the Secret that holds the password"),
    "a secret without login": (
        {"kafka": {"sasl": {"secret": {"name": "login"}}}}, "choose PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    "a password in the clear": (
        {"kafka": {"sasl": {"mechanism": "PLAIN", "secret": {"name": "login"}}}},
        "PLAIN would send the password in the clear: set kafka.tls.enabled to true"),
    "an unknown login": ({"kafka": {"sasl": {"mechanism": "GSSAPI"}}}, "value must be one of"),
    "a topic without cluster": (
        {"kafka": {"strimzi": {"topic": {"create": True}}}}, "kafka.strimzi.cluster is empty: name the Kafka object"),
    "a Strimzi certificate that nobody mounts": (
        {"kafka": {"strimzi": {"cluster": "prod", "user": {"create": True}}}},
        "Strimzi writes the certificate to the Secret eyes-eyestream-screening; name it there"),
    "a Strimzi password that nobody mounts": (
        {"kafka": {"strimzi": {"cluster": "prod", "user": {"create": True, "authentication": "scram-sha-512"}}}},
        "set kafka.sasl.mechanism to SCRAM-SHA-512"),
    "no Redis": ({"redis": {"urlSecret": {"name": ""}}}, "redis.urlSecret.name is empty: name the Secret"),
    "two Redis": ({"redis": {"dev": {"enabled": True}}}, "turn redis.dev.enabled off"),
    "a cluster of one Redis": (
        {"redis": {"urlSecret": {"name": ""}, "dev": {"enabled": True}}, "settings": {"redis": {"cluster": True}}},
        "set settings.redis.cluster to false"),
    "copies of one Redis": (
        {"redis": {"urlSecret": {"name": ""}, "dev": {"enabled": True}}, "settings": {"redis": {"wait_replicas": 1}}},
        "settings.redis.wait_replicas waits for copies: set it to 0"),
    "no banks": ({"banks": {"claim": ""}}, "banks.claim is empty: name the PersistentVolumeClaim"),
    "banks by tag": (
        {"banks": {"source": "image", "image": "registry/banks:1"}},
        "banks.image has no digest: write registry/repository"),
    "no model": ({"settings": {"triton": {"model": ""}}}, "settings.triton.model is empty: write the name"),
    "a model that no pool serves": (
        {"settings": {"triton": {"model": "retfound"}}}, 'settings.triton.model is "retfound" and no pool serves it'),
    "a pool's model that is not described": (
        _pool(models=["flair", "other"]), 'names "other", which models does not have: it has flair'),
    "no pool": ({"triton": {"pools": {"main": None}}}, "triton.pools is empty: write a pool"),
    "pools and another Triton": (
        {"triton": {"external": "triton:8001"}}, "triton.external and triton.pools are both set"),
    "another Triton by URL": (
        {"triton": {"external": "grpc://triton:8001", "pools": {"main": None}}},
        "write host:port of gRPC, without a scheme"),
    "an unknown GPU": (
        _pool(gpu="b200"), 'triton.pools.main.gpu is "b200", which gpus does not have: it has a100, cpu, h100, l4'),
    "a GPU without compute capability": (
        _gpu(resource="nvidia.com/gpu", product="X"), "gpus.own.computeCapability is empty: write it"),
    "a GPU without product": (
        _gpu(resource="nvidia.com/gpu", computeCapability="8.9"), "gpus.own.product is empty: write the node label"),
    "a slice without profile": (
        _gpu(**_GPU | {"resource": "nvidia.com/mig-1g.10gb"}), "migProfile is empty: write the profile"),
    "a slice of another size": (
        _gpu(**_GPU | {"resource": "nvidia.com/mig-1g.10gb", "migProfile": "2g.20gb"}),
        "they must name the same slice"),
    "a sliced product without profile": (
        _gpu(**_GPU | {"product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"}), "migProfile is empty: write the profile"),
    "two shares of one GPU": (
        _gpu(**_GPU | {"resource": "nvidia.com/gpu.shared", "count": 2}), "several would not be one larger GPU"),
    "a rollout that cannot begin": (
        _pool(strategy={"maxSurge": 0, "maxUnavailable": 0}), "maxSurge and maxUnavailable are both 0"),
    "a rollout that no share of can begin": (
        _pool(strategy={"maxSurge": "0%", "maxUnavailable": "0%"}), "maxSurge and maxUnavailable are both 0"),
    "a worker rollout that cannot begin": (
        {"screening": {"strategy": {"maxSurge": 0}}}, "screening.strategy: maxSurge and maxUnavailable are both 0"),
    "a worker rollout that no share of can begin": (
        {"screening": {"strategy": {"maxSurge": "0%"}}}, "screening.strategy: maxSurge and maxUnavailable are both 0"),
    "metrics on a port of the system": ({"monitoring": {"port": 443}}, "minimum: got 443, want 1,024"),
    "Triton scaled by nothing": (
        _pool(autoscaling={"enabled": True}), "its prometheus is empty: write the address"),
    "Triton scaled downwards": (
        _pool(autoscaling={"enabled": True, "prometheus": "http://p", "minReplicas": 3}),
        "maxReplicas 1 is below minReplicas 3"),
    "a cache that one node has": (
        {"engines": {"cache": {"accessModes": ["ReadWriteOnce"]}}}, "engines.cache.accessModes has no ReadWriteMany"),
    "prebuilt engines in an empty cache": (
        {"engines": {"mode": "prebuilt"}}, "name the claim that was filled with engines"),
    "a queue for nothing": (
        {"engines": {"mode": "prebuilt", "queue": "q", "cache": {"claim": "c"}}},
        "engines.queue is set and engines.mode is prebuilt: only Jobs can queue"),
    "a queue for pods that serve": (
        {"engines": {"queue": "q"}}, "set engines.mode to job or jobset, or remove engines.queue"),
    "a priority of builds in place": (
        {"engines": {"priorityClassName": "high"}}, "a pod of Triton that builds needs no second GPU"),
    "a builder that nobody knows": ({"engines": {"mode": "pod"}}, "value must be one of 'in-place', 'job'"),
    "Jobs that fill caches of pods": (
        {"engines": {"mode": "job", "cache": {"perPod": True}}}, "only a pod that builds can fill its own cache"),
    "a claim of each pod's own": (
        {"engines": {"cache": {"perPod": True, "claim": "c"}}}, "a cache of each pod's own is no claim"),
    "engines among the checkpoints": (
        {"engines": {"cache": {"claim": "checkpoints"}}}, "Kubernetes mounts no claim twice in one pod"),
    "two checkpoints": (
        _checkpoint(claim="c", path="f", url="https://x/f"), "models.flair.checkpoint names 2 sources"),
    "no checkpoint": (_checkpoint(path="f"), "models.flair.checkpoint names 0 sources: write exactly one"),
    "a checkpoint without file": (_checkpoint(claim="c"), "models.flair.checkpoint.path is empty"),
    "a download that the policy forbids": (
        _checkpoint(url="https://x/f"), "write the rule that allows it to networkPolicy.extraEgress.engines"),
    "more workers than partitions": (
        _serve(replicas=13), "settings.serve.replicas is 13 and kafka.partitions is 12"),
    "more workers than partitions when busy": (
        _serve(max_replicas=13) | {"screening": {"keda": {"enabled": True}}},
        "settings.serve.max_replicas is 13 and kafka.partitions is 12"),
    "fewer workers when busy": (_serve(replicas=4, max_replicas=2), "settings.serve.max_replicas is 2, below"),
    "KEDA without a bound": (
        {"screening": {"keda": {"enabled": True}}}, "settings.serve.max_replicas is empty: write the most workers"),
    "a bound without KEDA": (_serve(max_replicas=4), "set screening.keda.enabled to true, or remove max_replicas"),
    "KEDA on Ray": (
        _serve(max_replicas=4) | {"screening": {"host": "ray", "keda": {"enabled": True}}},
        "a RayService has no scale that KEDA could set"),
    "a password for no Redis": (
        {"ray": {"gcs": {"passwordSecret": {"name": "x"}}}}, "write host:port of the Redis that keeps Ray's state"),
    "a Redis of Ray's without port": (
        {"screening": {"host": "ray"}, "ray": {"gcs": {"redisAddress": "redis.data.svc"}}},
        'ray.gcs.redisAddress is "redis.data.svc": write host:port'),
    "a Redis of Ray's with a database": (
        {"screening": {"host": "ray"}, "ray": {"gcs": {"redisAddress": "redis://redis.data.svc:6379/0"}}},
        "write host:port, with rediss:// before it for TLS and nothing behind it"),
    "a longer look back than an autoscaler takes": (
        {"screening": {"keda": {"scaleDownSeconds": 3601}}}, "maximum: got 3,601, want 3,600"),
    "a token for a Ray that has none": (
        {"screening": {"host": "ray"}, "ray": {"version": "2.51.2"}}, "Ray has tokens from 2.52.0 on"),
    "an image without digest": (
        {"images": {"requireDigest": True}}, "is empty while images.requireDigest is true: write the digest"),
    "a short digest": ({"images": {"triton": {"digest": "sha256:1"}}}, "does not match pattern"),
    "a typing error at the top": ({"screning": {}}, "additional properties 'screning' not allowed"),
    "a typing error in the settings": (
        {"settings": {"line": {"max_bach": 8}}}, "additional properties 'max_bach' not allowed"),
    "a setting that the chart makes": (
        {"settings": {"redis": {"url": "redis://x"}}}, "additional properties 'url' not allowed"),
    "a typing error in a pool": (_pool(replica=2), "additional properties 'replica' not allowed"),
    "no worker at all": (_serve(replicas=0), "minimum: got 0, want 1"),
    "a number as text": ({"settings": {"line": {"max_batch": "8"}}}, "got string, want integer"),
    "a digest of another kind": ({"models": {"flair": {"digest": "abc"}}}, "does not match pattern"),
    "a variable that is a setting": ({"screening": {"env": {"EYESTREAM_X": "1"}}}, "'not' failed"),
    "a home that is not written to": ({"screening": {"env": {"HOME": "/root"}}}, "'not' failed"),
    "a label that selects": (
        {"global": {"commonLabels": {"app.kubernetes.io/component": "eyes"}}}, "'not' failed"),
    "a pod's label that selects": (
        {"screening": {"podLabels": {"app.kubernetes.io/instance": "eyes"}}}, "'not' failed"),
    "a pool's label that selects": (_pool(podLabels={"eyestream.io/pool": "other"}), "'not' failed"),
    "a model's long Service": (
        {
            "fullnameOverride": "a" * 30,
            "models": {"m" * 28: {"digest": "a" * 64, "checkpoint": {"bundled": True}}},
            "triton": {"pools": {"main": {"models": ["flair", "m" * 28]}}},
        },
        "which has 64 characters and may have 63: shorten the model's name, or set fullnameOverride"),
    "a long name": ({"fullnameOverride": "a" * 31}, "does not match pattern"),
    "a name that no Service may have": (
        {"nameOverride": "Eye_Stream"}, "would be called eyes-Eye_Stream-…: Services begin with a letter"),
    "pictures behind http": (
        {"settings": {"pictures": {"references": ["s3://eyes/", "https://pictures.example/"]}}},
        'settings.pictures.references holds "https://pictures.example/": write s3://'),
    "a size in a unit that Kubernetes has not": (
        {"engines": {"cache": {"size": "50GB"}}}, "'50GB' does not match pattern"),
    "a pool's share of memory in such a unit": (_pool(shm="1 GB"), "'1 GB' does not match pattern"),
    "a volume of such a size": ({"redis": {"dev": {"size": "big"}}}, "'big' does not match pattern"),
    "a Prometheus without scheme": (
        _pool(autoscaling={"prometheus": "prometheus:9090"}), "'prometheus:9090' does not match pattern"),
    "a pool's long name": (
        {"triton": {"pools": {"x" * 21: {"gpu": "l4", "models": ["flair"]}}}}, "does not match pattern"),
    "a pool without models": (_pool(models=[]), "minItems: got 0, want 1"),
    "a results service that lets nobody in": (
        {"web": {"enabled": True}}, "name the Secret of your API keys in web.keysSecret.name"),
    "a results service on a port of the system": (
        {"web": {"enabled": True, "keysSecret": {"name": "k"}}, "settings": {"web": {"port": 80}}},
        "settings.web.port is 80: write a port from 1024 on"),
    "a results service on the port of the metrics": (
        {"web": {"enabled": True, "keysSecret": {"name": "k"}}, "settings": {"web": {"port": 9464}}},
        "other than monitoring.port (9464)"),
    "a results service without a guard": ({"settings": {"web": {"unprotected": True}}}, "unprotected"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_refused(wrong):
    values, sentence = WRONG[wrong]
    with pytest.raises(render.Refused) as refused:
        render.manifests(values=_over(MINIMAL, values))
    assert sentence in re.sub(r"\s+", " ", str(refused.value))


@pytest.mark.parametrize("size", ["50Gi", "1.5Ti", "53687091200", "50G"])
def test_a_size_may_be_whatever_kubernetes_takes(size):
    assert render.manifests(values=_over(MINIMAL, {"engines": {"cache": {"size": size}}}))


@pytest.mark.parametrize("release", ["eyes.prod", "7eyes"])
def test_a_release_that_helm_names_and_no_service_may_be_called_after_is_refused(release):
    with pytest.raises(render.Refused, match="Set fullnameOverride, or name the release otherwise"):
        render.manifests(values=MINIMAL, release=release)
    assert render.manifests(values=MINIMAL | {"fullnameOverride": "eyes"}, release=release)


def test_at_least_thirty_mistakes_are_known():
    assert len(WRONG) >= 30


def test_an_umbrella_chart_may_hand_over_its_condition_and_globals():
    assert render.manifests(
        values=MINIMAL | {"enabled": True, "global": {"team": "eyes", "imageRegistry": "r.example"}}
    )


def test_an_older_kubernetes_is_refused_by_name():
    with pytest.raises(render.Refused, match=r"kubeVersion: >=1\.29\.0-0"):
        render.manifests(values=MINIMAL, kubernetes="1.28.0")
