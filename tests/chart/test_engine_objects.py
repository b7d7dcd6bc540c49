"""Who builds engines, where, and with what: Triton's own pods, Jobs, a JobSet, or nobody."""

from __future__ import annotations

import re

import pytest
from chartkit import render
from chartkit.manifests import named, of_kind, pods

JOBS = {"engines": {"mode": "job"}}


def _jobs(objects):
    return [item for item in of_kind(objects, "Job") if "-engine-" in item["metadata"]["name"]]


def _triton(objects, pool="main"):
    (pod,) = [pod for pod in pods(objects) if pod.labels.get("eyestream.io/pool") == pool]
    return pod.spec


def _builds(objects, pool="main"):
    return [one for one in _triton(objects, pool)["initContainers"] if one["name"].startswith("build-")]


def _variables(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def _builders(objects):
    """Every container that builds, of Jobs and of Triton's pods."""
    return [one for pod in pods(objects) for one in pod.containers if "/scripts/build.sh" in one.get("command", [])]


def test_a_builder_has_all_that_the_scripts_read(rendered, shape):
    scripts = "".join((render.CHART / "files" / "engines" / name).read_text() for name in ("build.sh", "machine.sh"))
    read = set(re.findall(r"\$\{?(ENGINE_[A-Z]+(?:_[A-Z]+)*)", scripts))
    assert len(read) > 10, "the scripts are read"
    ours = {"ENGINE_LIBRARIES", "ENGINE_POLL_SECONDS", "ENGINE_LEASE_LOOKS"}  # have defaults; tests change them
    for builder in _builders(rendered(shape)):
        names = _variables(builder).keys()
        may_lack = {"ENGINE_URL", "ENGINE_CHECKPOINT"}
        if _variables(builder)["ENGINE_GPU"] == "cpu":
            may_lack |= {"ENGINE_COMPUTE", "ENGINE_MIG", "ENGINE_TENSORRT"}
        assert read - ours - may_lack <= names


def test_triton_serves_what_is_built_and_checked(rendered, shape):
    objects = rendered(shape)
    served, checked = set(), set()
    for pod in pods(objects):
        if "-triton-" in pod.owner:
            (triton,) = pod.spec["containers"]
            for argument in triton["args"]:
                if argument.startswith("--model-repository="):
                    served.add(argument.removeprefix("--model-repository=/engines/").removesuffix("/repository"))
            checked |= set(pod.spec["initContainers"][-1]["args"])
    assert served == checked
    built = {_variables(builder)["ENGINE_KEY"] for builder in _builders(objects)}
    assert built == (set() if shape == "air-gapped" else served)


def test_by_default_the_pod_that_has_a_gpu_builds_on_it(rendered):
    objects = rendered("minimal")
    assert not _jobs(objects)
    spec = _triton(objects)
    assert [one["name"] for one in spec["initContainers"]] == ["build-flair", "engines"]
    build, check = spec["initContainers"]
    (triton,) = spec["containers"]
    assert {one["resources"]["limits"]["nvidia.com/gpu"] for one in (build, check, triton)} == {"1"}, "max() of them"
    assert (build["image"].split("/")[-1], check["image"]) == ("engines:0.1.0", triton["image"])
    written = {
        one["name"]: [mount.get("readOnly", False) for mount in one["volumeMounts"] if mount["name"] == "engines"]
        for one in (build, check, triton)
    }
    assert written == {"build-flair": [False], "engines": [True], "triton": [True]}


def test_a_pool_of_several_encoders_builds_each_and_mounts_their_claim_once(rendered):
    objects = rendered("two-pools", {"engines": {"mode": "in-place"}})
    assert [one["name"] for one in _builds(objects, "fast")] == ["build-flair", "build-retfound"]
    assert [one["name"] for one in _builds(objects, "small")] == ["build-flair"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in _triton(objects, "fast")["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert sorted(claims) == ["checkpoints", "eyes-eyestream-engines"]


def test_two_encoders_of_one_file_have_an_engine_each(rendered):
    digest, claim = "c3" * 32, {"claim": "checkpoints", "path": "octcube_ef.pth"}
    models = {
        "infrared": {"encoder": "octcube-ef-ir", "digest": digest, "checkpoint": claim},
        "autofluorescence": {"encoder": "octcube-ef-faf", "digest": digest, "checkpoint": claim},
    }
    values = {"models": models, "triton": {"pools": {"main": {"models": [*models]}}}}
    objects = rendered("minimal", {**values, "settings": {"triton": {"model": "infrared"}}})
    keys = {_variables(builder)["ENGINE_KEY"] for builder in _builds(objects)}
    assert len(keys) == 2
    (other,) = _builds(rendered("minimal", {"models": {"flair": {"encoder": "flair-adapted"}}}))
    (same,) = _builds(rendered("minimal"))
    assert _variables(other)["ENGINE_KEY"] != _variables(same)["ENGINE_KEY"], "the name is the same, the encoder is not"


def test_a_rollout_has_the_time_that_its_builds_may_take(rendered):
    def deadline(values, pool):
        (item,) = [
            item
            for item in of_kind(rendered("two-pools", values), "Deployment")
            if item["metadata"]["name"].endswith(pool)
        ]
        return item["spec"]["progressDeadlineSeconds"]

    in_place = {"engines": {"mode": "in-place", "deadlineSeconds": 1000}}
    assert deadline(in_place, "-small") >= 1000 + 600
    assert deadline(in_place, "-fast") >= 2 * 1000 + 600, "one encoder after the other"
    assert deadline({"engines": {"waitSeconds": 100, "deadlineSeconds": 1000}}, "-fast") < 1000


def test_only_a_build_that_downloads_opens_the_network_to_triton_s_pods(rendered):
    def egress(shape, values=None):
        return named(rendered(shape, values), "NetworkPolicy", "-triton")["spec"]["egress"]

    assert egress("minimal") == []
    assert egress("mtls-scram", JOBS) == []
    allowed = named(rendered("mtls-scram", JOBS), "NetworkPolicy", "-engines")["spec"]["egress"]
    assert egress("mtls-scram") == allowed
    unserved = {"models": {"other": {"digest": "0" * 64, "checkpoint": {"url": "s3://x/y"}}}}
    rule = {"networkPolicy": {"extraEgress": {"engines": [{"ports": [{"port": 443}]}]}}}
    assert egress("minimal", unserved | rule) == []


def test_a_cache_of_each_pod_s_own_needs_no_claim(rendered):
    objects = rendered("minimal", {"engines": {"cache": {"perPod": True, "accessModes": ["ReadWriteOnce"]}}})
    assert not of_kind(objects, "PersistentVolumeClaim")
    (cache,) = [volume for volume in _triton(objects)["volumes"] if volume["name"] == "engines"]
    assert cache["emptyDir"] == {"sizeLimit": "50Gi"}


@pytest.mark.parametrize("mode", ["job", "jobset", "prebuilt"])
def test_where_somebody_else_builds_triton_s_pods_cannot(rendered, mode):
    objects = rendered("minimal", {"engines": {"mode": mode, "cache": {"claim": "filled"}}})
    spec = _triton(objects)
    assert [one["name"] for one in spec["initContainers"]] == ["engines"]
    claims = [volume["persistentVolumeClaim"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    assert claims == [{"claimName": "filled", "readOnly": True}]


def test_another_encoder_tensorrt_or_gpu_is_another_job_and_another_engine(rendered):
    def job(values):
        (found,) = _jobs(rendered("minimal", values | {"engines": JOBS["engines"] | values.get("engines", {})}))
        return found["metadata"]["name"], found["metadata"]["annotations"]["eyestream.io/engine"]

    name, key = job({})
    assert job({"screening": {"graceSeconds": 40}}) == (name, key), "what is no part of the engine changes nothing"
    for values in (
        {"models": {"flair": {"digest": "0" * 64}}},
        {"engines": {"tensorrt": "11.3.0"}},
        {"gpus": {"h100": {"product": "NVIDIA-H100-NVL"}}},
        {"gpus": {"h100": {"computeCapability": "9.1"}}},
    ):
        other_name, other_key = job(values)
        assert other_name != name, values
        assert other_key != key, values
    other_name, same_key = job({"images": {"engines": {"tag": "2"}}})
    assert (other_name != name, same_key) == (True, key), "a new builder runs, and finds the engine there"


def test_one_engine_serves_every_pool_of_its_kind(rendered):
    second = {"triton": {"pools": {"second": {"gpu": "h100", "models": ["flair"]}}}}
    assert len(_jobs(rendered("minimal", second | JOBS))) == 1
    (one,) = {_variables(builder)["ENGINE_KEY"] for builder in _builders(rendered("minimal", second))}
    assert one


def test_the_checkpoint_comes_from_where_the_values_say(rendered):
    for values, spec_of in ((JOBS, _job_spec), ({"engines": {"mode": "in-place"}}, _first_triton)):

        def build(shape, values=values, spec_of=spec_of):
            spec = spec_of(rendered(shape, values))
            (one,) = [one for one in _all(spec) if "/scripts/build.sh" in one.get("command", [])]
            mounted = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
            volumes = [volume for volume in spec["volumes"] if mounted.get(volume["name"]) == "/checkpoints"]
            return one, volumes

        one, volumes = build("minimal")
        assert "--checkpoint=/checkpoints/flair/model.safetensors" in one["args"]
        assert [volume["persistentVolumeClaim"] for volume in volumes] == [
            {"claimName": "checkpoints", "readOnly": True}
        ]

        one, volumes = build("mtls-scram")
        assert _variables(one)["ENGINE_URL"] == "s3://checkpoints/ret-clip.pt"
        assert one["envFrom"] == [{"secretRef": {"name": "checkpoint-store"}}]
        assert "--checkpoint=/scratch/checkpoint" in one["args"]
        assert not volumes

        one, volumes = build("dev")
        assert not [argument for argument in one["args"] if argument.startswith("--checkpoint")]
        assert not volumes

        one, volumes = build("air-gapped")
        assert [volume["image"]["reference"].split("@")[0] for volume in volumes] == [
            "registry.hospital.example/checkpoints"
        ]


def _all(spec):
    return spec.get("initContainers", []) + spec["containers"]


def _job_spec(objects):
    (job,) = _jobs(objects)
    return job["spec"]["template"]["spec"]


def _first_triton(objects):
    return next(pod.spec for pod in pods(objects) if "-triton-" in pod.owner)


def test_kueue_and_jobset_only_when_asked_for(rendered):
    assert not of_kind(rendered("two-pools"), "JobSet")
    assert "kueue" not in str(rendered("two-pools"))
    sets = of_kind(rendered("mig"), "JobSet")
    assert len(sets) == 1
    assert sets[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-builds"
    assert len(sets[0]["spec"]["replicatedJobs"]) == 2
    assert not _jobs(rendered("mig"))
    policy = named(rendered("two-pools"), "NetworkPolicy", "-engines")
    assert policy["spec"]["egress"] == []
