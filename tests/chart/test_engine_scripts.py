"""The scripts that build and choose engines, run for real, with a GPU and a compiler that are scripts themselves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chartkit import render
from chartkit.manifests import named, of_kind, pods

SCRIPTS = render.CHART / "files" / "engines"
WEIGHTS = b"weights"
KEY = "a1a1/nvidia-l4-cc8.9-trt11.2.1"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


class Machine:
    """A node with an L4, TensorRT 11.2.1, an empty cache and a builder that writes a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "engines"
        self.cache.mkdir()
        (folder / "bin").mkdir()
        (folder / "libnvinfer.so.11.2.1").touch()
        (folder / "checkpoint").write_bytes(WEIGHTS)
        self.gpu("NVIDIA L4", "8.9")
        self.program(
            "builder",
            'sleep "${SLOW:-0}" >/dev/null 2>&1\nmkdir -p "$ENGINE_PARTIAL/repository/flair/1"\n'
            'echo plan >"$ENGINE_PARTIAL/repository/flair/1/model.plan"\n'
            '[ -n "${HALF:-}" ] || echo config >"$ENGINE_PARTIAL/repository/flair/config.pbtxt"\n'
            'echo built >>"$ENGINE_CACHE/../builds"',
        )

    def gpu(self, name: str, compute: str, *, mig: str = "") -> None:
        slices = f'echo "  MIG {mig} Device 0: (UUID: MIG-1)"' if mig else ":"
        self.program(
            "nvidia-smi",
            f'case "$*" in\n*name*) echo "{name}" ;;\n*compute_cap*) echo {compute} ;;\n-L) {slices} ;;\nesac',
        )

    def program(self, name: str, body: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.defpath}",
            "ENGINE_CACHE": str(self.cache),
            "ENGINE_KEY": KEY,
            "ENGINE_MODEL": "flair",
            "ENGINE_DIGEST": hashlib.sha256(WEIGHTS).hexdigest(),
            "ENGINE_CHECKPOINT": str(self.folder / "checkpoint"),
            "ENGINE_PARTIAL": str(self.cache / ".partial-1"),
            "ENGINE_GPU": "NVIDIA-L4",
            "ENGINE_COMPUTE": "8.9",
            "ENGINE_MIG": "",
            "ENGINE_TENSORRT": "11.2.1",
            "ENGINE_LIBRARIES": str(self.folder / "libnvinfer.so.*.*.*"),
            "ENGINE_WAIT_SECONDS": "0",
            "ENGINE_POLL_SECONDS": "1",
        } | more

    def start(self, script: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", str(SCRIPTS / script), *arguments],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def build(self, **more: str) -> tuple[int, str]:
        return self.ended(self.start("build.sh", "builder", **more))

    def select(self, *keys: str, **more: str) -> tuple[int, str]:
        return self.ended(self.start("select.sh", *keys, **more))

    @staticmethod
    def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def builds(self) -> int:
        file = self.folder / "builds"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def left(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir())


def test_an_engine_is_built_once_and_then_found(machine):
    assert machine.build() == (0, f"published {KEY}\n")
    assert machine.build() == (0, f"the engine {KEY} is in the cache already\n")
    assert machine.builds == 1
    assert machine.select(KEY) == (0, f"the engine {KEY} fits this machine\n")
    assert machine.left() == ["a1a1"]


def test_a_build_that_ends_early_publishes_nothing(machine):
    code, said = machine.build(HALF="1")
    assert code == 1
    assert "it did not finish" in said
    assert machine.left() == []


def test_a_build_that_fails_publishes_nothing_and_says_so_by_its_exit(machine):
    machine.program("builder", 'mkdir -p "$ENGINE_PARTIAL/repository/flair"; exit 7')
    assert machine.build()[0] == 7
    assert machine.left() == []


def test_a_build_that_is_stopped_leaves_no_half_engine(machine):
    process = machine.start("build.sh", "builder", SLOW="30")
    while not (machine.cache / ".partial-1").exists():
        time.sleep(0.02)  # the script is another process: there is no clock to step
    process.terminate()
    assert machine.ended(process)[0] == 143
    assert machine.left() == []


def test_a_build_that_is_killed_is_made_good_by_the_next(machine):
    process = machine.start("build.sh", "builder", SLOW="30")
    while not (machine.cache / ".partial-1").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # as a container ends: all of it
    machine.ended(process)
    assert machine.select(KEY)[0] == 1, "half an engine is none"
    assert machine.build() == (0, f"published {KEY}\n")
    assert machine.left() == ["a1a1"]


def test_two_builds_at_once_leave_one_whole_engine(machine):
    processes = [
        machine.start("build.sh", "builder", SLOW="0.3", ENGINE_PARTIAL=str(machine.cache / f".partial-{n}"))
        for n in range(2)
    ]
    said = [machine.ended(process) for process in processes]
    assert [code for code, _ in said] == [0, 0]
    assert sorted("another build was quicker" in text for _, text in said) == [False, True]
    assert machine.left() == ["a1a1"]
    assert sorted(path.name for path in (machine.cache / KEY).iterdir()) == ["identity", "repository"]


def test_another_checkpoint_than_the_values_name_is_refused(machine):
    (machine.folder / "checkpoint").write_bytes(b"other weights")
    code, said = machine.build()
    assert code == 1
    assert "models.flair.digest says" in said
    assert machine.builds == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"ENGINE_GPU": "NVIDIA-A10"}, 'this GPU is "NVIDIA L4", the engine is for NVIDIA-A10'),
        ({"ENGINE_COMPUTE": "8.6"}, "compute capability is 8.9, the engine is for 8.6"),
        ({"ENGINE_MIG": "1g.10gb"}, "this pod has no MIG slice 1g.10gb"),
        ({"ENGINE_TENSORRT": "10.16.1"}, "this image has TensorRT 11.2.1, engines.tensorrt says 10.16.1"),
        ({"ENGINE_LIBRARIES": "/nowhere/*"}, "this image has TensorRT that cannot be found"),
    ],
)
def test_a_machine_that_is_not_what_the_values_say_neither_builds_nor_serves(machine, wrong, sentence):
    assert machine.build()[0] == 0
    for code, said in (machine.build(ENGINE_KEY="other", **wrong), machine.select(KEY, **wrong)):
        assert code == 1
        assert sentence in said
    assert machine.builds == 1


def test_an_engine_for_another_machine_is_refused_even_under_the_right_name(machine):
    machine.build()
    identity = machine.cache / KEY / "identity"
    identity.write_text(identity.read_text().replace("tensorrt=11.2.1", "tensorrt=11.1.0"))
    code, said = machine.select(KEY)
    assert code == 1
    assert "wanted tensorrt=11.2.1, it has tensorrt=11.1.0" in said


def test_a_slice_of_a_gpu_is_recognised(machine):
    machine.gpu("NVIDIA A100-SXM4-80GB", "8.0", mig="2g.20gb")
    sliced = {"ENGINE_GPU": "NVIDIA-A100-SXM4-80GB", "ENGINE_COMPUTE": "8.0", "ENGINE_MIG": "2g.20gb"}
    assert machine.build(**sliced)[0] == 0
    assert machine.select(KEY, **sliced)[0] == 0
    single = sliced | {"ENGINE_GPU": "NVIDIA-A100-SXM4-80GB-MIG-2g.20gb"}
    assert machine.build(ENGINE_KEY="single", **single)[0] == 0


def test_triton_waits_for_its_engine_and_gives_up_with_the_command_that_shows_why(machine):
    code, said = machine.select(KEY)
    assert code == 1
    assert "kubectl get jobs" in said
    process = machine.start("select.sh", KEY, ENGINE_WAIT_SECONDS="30")
    machine.build()
    assert machine.ended(process)[0] == 0


def test_a_machine_without_a_gpu_needs_no_gpu_checks(machine):
    (machine.folder / "bin" / "nvidia-smi").unlink()
    cpu = {"ENGINE_GPU": "cpu", "ENGINE_COMPUTE": "", "ENGINE_TENSORRT": ""}
    assert machine.build(**cpu)[0] == 0
    assert machine.select(KEY, **cpu)[0] == 0


def test_the_job_hands_the_script_all_that_it_reads(rendered):
    (job,) = of_kind(rendered("minimal"), "Job")[:1]
    (build,) = job["spec"]["template"]["spec"]["containers"]
    names = {entry["name"] for entry in build["env"]}
    assert names >= {"ENGINE_CACHE", "ENGINE_KEY", "ENGINE_MODEL", "ENGINE_DIGEST", "ENGINE_CHECKPOINT",
                     "ENGINE_PARTIAL", "ENGINE_GPU", "ENGINE_COMPUTE", "ENGINE_MIG", "ENGINE_TENSORRT"}  # fmt: skip
    order = [entry["name"] for entry in build["env"]]
    assert order.index("POD_UID") < order.index("ENGINE_PARTIAL"), "Kubernetes expands only what stands before"


def test_triton_serves_what_the_jobs_build(rendered, shape):
    objects = rendered(shape)
    served, checked = set(), set()
    for pod in pods(objects):
        if "-triton-" in pod.owner:
            (triton,) = pod.spec["containers"]
            for argument in triton["args"]:
                if argument.startswith("--model-repository="):
                    served.add(argument.removeprefix("--model-repository=/engines/").removesuffix("/repository"))
            checked |= set(pod.spec["initContainers"][0]["args"])
    assert served == checked
    built = {
        entry["value"]
        for pod in pods(objects)
        for container in pod.spec["containers"]
        for entry in container.get("env", [])
        if entry["name"] == "ENGINE_KEY"
    }
    assert built == (set() if shape == "air-gapped" else served)


def test_another_encoder_tensorrt_or_gpu_is_another_job_and_another_engine(rendered):
    def job(values=None):
        (found,) = [
            item for item in of_kind(rendered("minimal", values), "Job") if "-engine-" in item["metadata"]["name"]
        ]
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
    values = {"triton": {"pools": {"second": {"gpu": "h100", "models": ["flair"]}}}}
    jobs = [item for item in of_kind(rendered("minimal", values), "Job") if "-engine-" in item["metadata"]["name"]]
    assert len(jobs) == 1


def test_the_checkpoint_comes_from_where_the_values_say(rendered):
    def build(shape, values=None):
        (job,) = [item for item in of_kind(rendered(shape, values), "Job") if "-engine-" in item["metadata"]["name"]]
        spec = job["spec"]["template"]["spec"]
        return spec, spec["containers"][0]["args"]

    spec, args = build("minimal")
    assert "--checkpoint=/checkpoints/flair/model.safetensors" in args
    assert {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "checkpoints", "readOnly": True}} in spec[
        "volumes"
    ]

    spec, args = build("mtls-scram")
    (fetch,) = spec["initContainers"]
    assert fetch["command"] == ["python", "/scripts/fetch.py", "s3://checkpoints/ret-clip.pt", "/scratch/checkpoint"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "checkpoint-store"}}]
    assert "--checkpoint=/scratch/checkpoint" in args

    spec, args = build("dev")
    assert not [argument for argument in args if argument.startswith("--checkpoint")]

    spec, args = build("air-gapped", {"engines": {"mode": "job"}})
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "checkpoints"]
    assert volume["image"]["reference"].startswith("registry.hospital.example/checkpoints@sha256:")


def test_the_download_writes_the_whole_file(tmp_path):
    source = tmp_path / "checkpoint"
    source.write_bytes(b"x" * 100_000)
    target = tmp_path / "target"
    command = [sys.executable, str(SCRIPTS / "fetch.py"), f"file://{source}", str(target)]
    assert subprocess.run(command, check=False).returncode == 0
    assert target.read_bytes() == source.read_bytes()


def test_kueue_and_jobset_only_when_asked_for(rendered):
    assert not of_kind(rendered("minimal"), "JobSet")
    assert "kueue" not in str(rendered("minimal"))
    sets = of_kind(rendered("mig"), "JobSet")
    assert len(sets) == 1
    assert sets[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-builds"
    assert len(sets[0]["spec"]["replicatedJobs"]) == 2
    assert not [item for item in of_kind(rendered("mig"), "Job") if "-engine-" in item["metadata"]["name"]]
    policy = named(rendered("minimal"), "NetworkPolicy", "-engines")
    assert policy["spec"]["egress"] == []
