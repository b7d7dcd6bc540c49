"""The scripts that build and choose engines, run for real, with a GPU and a compiler that are scripts themselves."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chartkit import render

SCRIPTS = render.CHART / "files" / "engines"
WEIGHTS = b"weights"
KEY = "a1a1/nvidia-l4-cc8.9-trt11.2.1"


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    for process in machine.processes:
        if process.returncode is None:  # of a test that failed
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


class Machine:
    """A node with an L4, TensorRT 11.2.1, an empty cache and a builder that writes a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "engines"
        self.processes: list[subprocess.Popen[str]] = []
        self.cache.mkdir()
        (folder / "bin").mkdir()
        (folder / "libnvinfer.so.11.2.1").touch()
        (folder / "checkpoint").write_bytes(WEIGHTS)
        self.gpu("NVIDIA L4", "8.9")
        self.program(
            "builder",
            'for last in "$@"; do :; done\nmodel="${last#--output=}/flair"\nmkdir -p "$model/1"\n'
            'echo started >>"$BUILDS.started"\nsleep "${SLOW:-0}" >/dev/null 2>&1\necho plan >"$model/1/model.plan"\n'
            '[ -n "${HALF:-}" ] || echo config >"$model/config.pbtxt"\necho built >>"$BUILDS"',
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
            "ENGINE_DEADLINE_SECONDS": "60",
            "ENGINE_LEASE_LOOKS": "600",
            "BUILDS": str(self.folder / "builds"),
            "ENGINE_GPU": "NVIDIA-L4",
            "ENGINE_COMPUTE": "8.9",
            "ENGINE_MIG": "",
            "ENGINE_TENSORRT": "11.2.1",
            "ENGINE_LIBRARIES": str(self.folder / "libnvinfer.so.*.*.*"),
            "ENGINE_WAIT_SECONDS": "0",
            "ENGINE_POLL_SECONDS": "1",
        } | more

    def start(self, script: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sh", str(SCRIPTS / script), *arguments],
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def starts_building(self, **more: str) -> subprocess.Popen[str]:
        return self.start("build.sh", "builder", **{"ENGINE_POLL_SECONDS": "0.1"} | more)

    def build(self, **more: str) -> tuple[int, str]:
        return self.ended(self.starts_building(**more))

    def select(self, *keys: str, **more: str) -> tuple[int, str]:
        return self.ended(self.start("select.sh", *keys, **more))

    @staticmethod
    def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def builds(self) -> int:
        """How many came to their end."""
        return self._lines("builds")

    @property
    def started(self) -> int:
        return self._lines("builds.started")

    def _lines(self, name: str) -> int:
        file = self.folder / name
        return len(file.read_text().splitlines()) if file.exists() else 0

    def wait(self, done: Callable[[], bool]) -> None:
        """For another process: there is no clock to step."""
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, "not within a minute"
            time.sleep(0.02)

    def plans(self) -> list[str]:
        """Every plan in the cache, whole or not."""
        return sorted(str(path.relative_to(self.cache)) for path in self.cache.rglob("flair/1"))

    def newest_claim(self) -> Path:
        return max((self.cache / ".building" / KEY).iterdir(), key=lambda path: int(path.name))


PUBLISHED = f"published {KEY}\n"
PLAN = f"{KEY}/repository/flair/1"


def test_an_engine_is_built_once_and_then_found(machine):
    assert machine.build() == (0, PUBLISHED)
    assert machine.build() == (0, f"the engine {KEY} is in the cache already\n")
    assert machine.builds == 1
    assert machine.select(KEY) == (0, f"the engine {KEY} fits this machine\n")
    assert machine.plans() == [PLAN]
    assert sorted(path.name for path in (machine.cache / KEY).iterdir()) == ["identity", "repository"]


def test_a_build_that_ends_early_publishes_nothing(machine):
    code, said = machine.build(HALF="1")
    assert code == 1
    assert "it did not finish" in said
    assert machine.plans() == []


def test_a_build_that_fails_publishes_nothing_says_so_by_its_exit_and_lets_the_next_one_begin(machine):
    works = (machine.folder / "bin" / "builder").read_text()
    machine.program("builder", 'for last in "$@"; do :; done; mkdir -p "${last#--output=}/flair/1"; exit 7')
    assert machine.build()[0] == 7
    assert machine.plans() == []
    machine.program("builder", works)
    assert machine.build() == (0, PUBLISHED)


def test_a_build_that_is_stopped_leaves_no_half_engine_and_lets_the_next_one_begin(machine):
    process = machine.starts_building(SLOW="60")
    machine.wait(lambda: machine.started == 1)
    process.terminate()
    assert machine.ended(process)[0] == 143
    assert machine.plans() == []
    assert machine.build() == (0, PUBLISHED)


def test_one_of_many_builds_and_the_others_find_its_engine(machine):
    processes = [machine.starts_building(SLOW="1") for _ in range(5)]
    said = sorted(machine.ended(process) for process in processes)
    waited = f"another pod builds the engine {KEY}: waiting for it\nthe engine {KEY} is in the cache now\n"
    assert said == sorted([(0, PUBLISHED), *[(0, waited)] * 4])
    assert machine.started == 1
    assert machine.plans() == [PLAN]


def test_a_builder_that_is_killed_is_followed_by_one_of_those_who_wait_and_leaves_nothing(machine):
    killed = machine.starts_building(SLOW="60")
    machine.wait(lambda: machine.started == 1)
    waiting = [machine.starts_building(ENGINE_LEASE_LOOKS="20") for _ in range(3)]
    os.killpg(killed.pid, signal.SIGKILL)  # as a container ends: all of it
    machine.ended(killed)
    assert len(machine.plans()) == 1, "half an engine lies there"
    assert machine.select(KEY)[0] == 1, "and is none"
    said = [machine.ended(process) for process in waiting]
    assert sorted(PUBLISHED in text for _, text in said) == [False, False, True]
    assert [code for code, _ in said] == [0, 0, 0]
    assert (machine.started, machine.builds) == (2, 1)
    assert machine.plans() == [PLAN]


def test_a_builder_whose_script_alone_is_killed_stops_beating(machine):
    orphaning = machine.starts_building(SLOW="3")
    machine.wait(lambda: machine.started == 1)
    orphaning.kill()
    assert machine.build(ENGINE_LEASE_LOOKS="5")[0] == 0
    assert machine.started == 2
    machine.ended(orphaning)
    assert machine.plans() == [PLAN]


def test_a_builder_at_work_is_never_taken_for_dead(machine):
    """Its beat is looked at far more often than the lease is long."""
    working = machine.starts_building(SLOW="4")
    machine.wait(lambda: machine.started == 1)
    waiting = machine.starts_building(ENGINE_LEASE_LOOKS="20")
    assert machine.ended(working) == (0, PUBLISHED)
    assert machine.ended(waiting)[0] == 0
    assert machine.started == 1


def test_a_builder_that_was_only_paused_gives_up_when_another_has_taken_over(machine):
    paused = machine.starts_building(SLOW="60")
    machine.wait(lambda: machine.started == 1)
    os.killpg(paused.pid, signal.SIGSTOP)
    slow = machine.starts_building(SLOW="4", ENGINE_LEASE_LOOKS="5")
    machine.wait(lambda: machine.started == 2)
    os.killpg(paused.pid, signal.SIGCONT)
    code, said = machine.ended(paused)
    assert code == 1
    assert "another pod has taken the build" in said
    assert machine.ended(slow) == (0, f"another pod builds the engine {KEY}: waiting for it\n{PUBLISHED}")
    assert machine.plans() == [PLAN]


def test_of_two_that_build_after_all_the_first_to_publish_wins(machine):
    """What no claim rules out: the engine comes from elsewhere while this one is built."""
    elsewhere = machine.folder / "elsewhere"
    elsewhere.mkdir()
    slower = machine.starts_building(SLOW="1")
    machine.wait(lambda: machine.started == 1)
    assert machine.build(ENGINE_CACHE=str(elsewhere)) == (0, PUBLISHED)
    shutil.copytree(elsewhere / KEY, machine.cache / KEY)
    assert machine.ended(slower) == (0, "another build was quicker; its engine stays\n")
    assert machine.plans() == [PLAN]


def test_a_build_that_hangs_is_given_up_and_frees_its_claim(machine):
    code, said = machine.build(SLOW="60", ENGINE_DEADLINE_SECONDS="1")
    assert code == 1
    assert "took more than 1 s: see engines.deadlineSeconds" in said
    assert machine.newest_claim().joinpath("beat").read_text() == "free\n"


def test_pods_with_caches_of_their_own_all_build(machine):
    caches = [machine.folder / f"own-{number}" for number in range(3)]
    for cache in caches:
        cache.mkdir()
    processes = [machine.starts_building(SLOW="0.5", ENGINE_CACHE=str(cache)) for cache in caches]
    assert [machine.ended(process) for process in processes] == [(0, PUBLISHED)] * 3
    assert machine.builds == 3


def test_an_engine_that_somebody_deleted_is_built_again(machine):
    machine.build()
    shutil.rmtree(machine.cache / "a1a1")
    assert machine.build(ENGINE_LEASE_LOOKS="3")[0] == 0
    assert machine.plans() == [PLAN]


def test_a_cache_without_room_or_rights_is_named(machine):
    (machine.cache / ".building").write_text("no folder can be made here")
    code, said = machine.build()
    assert code == 1
    assert "is the cache writable, and is there room?" in said


def test_a_checkpoint_at_a_url_is_downloaded_by_the_builder_alone_and_not_kept(machine):
    scratch = machine.folder / "scratch"
    scratch.mkdir()
    machine.program("python", f'exec "{sys.executable}" "$@"')
    source = machine.folder / "checkpoint"
    given = {"ENGINE_URL": f"file://{source}", "ENGINE_SCRATCH": str(scratch)}
    given["ENGINE_CHECKPOINT"] = str(scratch / "checkpoint")
    assert machine.build(**given) == (0, PUBLISHED)
    assert list(scratch.iterdir()) == []
    source.unlink()
    assert machine.build(**given) == (0, f"the engine {KEY} is in the cache already\n")


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
